"""Between the engine and the wire: who said it, and is it undamaged?"""

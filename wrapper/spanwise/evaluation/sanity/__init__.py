"""Does an attribution depend on what it should depend on?"""

"""Are the numbers right on this machine?"""

"""What does precision do to an attribution?"""

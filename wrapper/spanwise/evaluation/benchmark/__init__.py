"""Which methods find the planted causes?"""

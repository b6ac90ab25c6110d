"""Is an attribution faithful to its model, and more so than rankings that know nothing?"""

"""Can an attribution be trusted? Ground truth, so far: prompts whose causes were planted."""

"""Many prompts: a run that can be killed and resumed, in one process or under `accelerate launch`."""

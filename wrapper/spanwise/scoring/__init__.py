"""The scorer: one forward for all target tokens, batched over changed inputs."""

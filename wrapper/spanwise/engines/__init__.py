"""The engines that have the algorithms, each behind an adapter: translate in, call, translate out."""

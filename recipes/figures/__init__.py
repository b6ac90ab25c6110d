"""The figures of the recipes that need more than a result's own plots."""

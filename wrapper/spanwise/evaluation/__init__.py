"""Can an attribution be trusted? Faithfulness, sanity, agreement, ground truth; and whether this machine is right."""

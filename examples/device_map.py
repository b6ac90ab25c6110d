"""A model in parts: half of its blocks wait on the disk, and the scores are those of the whole model.
Shows: `device_map` and `offload_folder`. On GPUs: `device_map="auto", max_memory={0: "9GiB"}`."""

import tempfile

import spanwise

PLACES = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "cpu",
    "model.layers.2": "disk",
    "model.layers.3": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
question = {"prompt": "The capital of France is called", "target": " Paris.", "span": "Paris", "method": "saliency"}

whole = spanwise.attribute(spanwise.load_model("tiny"), **question)
with tempfile.TemporaryDirectory() as folder:
    lm = spanwise.load_model("tiny", device_map=PLACES, offload_folder=folder)
    parts = spanwise.attribute(lm, **question)

on_disk = [module for module, device in parts.provenance.device_map.items() if device == "disk"]
print("on the disk:", ", ".join(on_disk))
print(f"largest difference of a score: {(parts.scores - whole.scores).nan_to_num().abs().max():.1e}")

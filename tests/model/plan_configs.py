"""Configs of five public models, as their authors publish them, and their weights counted by hand."""

from dataclasses import dataclass

import transformers


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers and grouped keys and values; the numbers that its config has."""

    kind: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    tied: bool = False

    def config(self) -> transformers.PretrainedConfig:
        make = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig}[self.kind]
        return make(
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.ffn,
            vocab_size=self.vocab,
            max_position_embeddings=8192,
            tie_word_embeddings=self.tied,
            dtype="bfloat16",
        )

    def linears(self) -> list[tuple[int, int]]:
        """[rows, columns] of the linear layers of one block."""
        kv = self.hidden // self.heads * self.kv_heads
        attention = [(self.hidden, self.hidden), (kv, self.hidden), (kv, self.hidden), (self.hidden, self.hidden)]
        return [*attention, (self.ffn, self.hidden), (self.ffn, self.hidden), (self.hidden, self.ffn)]

    def others(self) -> int:
        """Parameters that are never quantized: embedding, head, norms, and Qwen2's biases of q, k and v."""
        kv = self.hidden // self.heads * self.kv_heads
        bias = self.hidden + 2 * kv if self.kind == "qwen2" else 0
        tables = self.vocab * self.hidden * (1 if self.tied else 2)
        return tables + self.layers * (2 * self.hidden + bias) + self.hidden

    def weights_bytes(self, quantization: str | None) -> float:
        """Two bytes a parameter; 4 bits and a float32 for each 64; or a byte and a float32 for each row."""
        count = self.layers * sum(rows * columns for rows, columns in self.linears())
        rows = self.layers * sum(rows for rows, _ in self.linears())
        of_linears = {None: 2.0 * count, "nf4": count * (0.5 + 4 / 64), "int8": count + 4.0 * rows}[quantization]
        return of_linears + 2 * self.others()


SHAPES = {
    "Qwen2.5-1.5B": Shape("qwen2", 1536, 28, 12, 2, 8960, 151936, tied=True),
    "Qwen2.5-7B": Shape("qwen2", 3584, 28, 28, 4, 18944, 152064),
    "Qwen2.5-72B": Shape("qwen2", 8192, 80, 64, 8, 29568, 152064),
    "Llama-3-8B": Shape("llama", 4096, 32, 32, 8, 14336, 128256),
    "Llama-3-70B": Shape("llama", 8192, 80, 64, 8, 28672, 128256),
}
MACHINES = {
    "1x8": ["8GiB"],
    "1x24": ["24GiB"],
    "2x24": ["24GiB"] * 2,
    "8x80": ["80GiB"] * 8,
}

"""Two tasks of five digits each, and new networks of two narrow blocks or stages that learn them in seconds."""

VALUES = {
    "name": "images",
    "problem": {"kind": "image_classification"},
    "stream": {"kind": "digits", "held_back": 0.9, "per_task": 5, "validation_fraction": 0.2},
}
"""Of a config, to which method, backbone and training are added."""
NETWORKS = {
    "resnet": (
        12,
        {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "layer_type": "basic",
        },
    ),
    "vit": (
        8,
        {
            "model_type": "vit",
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "image_size": 8,
            "patch_size": 4,
        },
    ),
}
"""Height and width of the images that a network takes, and its settings."""


def new_backbone(network: str, channels: int = 3) -> dict[str, object]:
    """Return `backbone` of a config: a network of NETWORKS with random weights, and how its images are prepared."""
    size, settings = NETWORKS[network]
    return {
        "kind": "new",
        "network": {**settings, "num_channels": channels},
        "image": {"size": size, "mean": [0.5] * channels, "std": [0.5] * channels},
    }

#!/usr/bin/env bash
# What only a GPU can tell, in at most eight minutes: the tests that need one, a step of SD-LoRA on the shape of a
# ViT-B/16 with 1, 10 and 20 slots, SD-LoRA on that shape over ten tasks, what a language model costs, and a step of EoMT-B. Writes benchmarks/results/*-gpu.json.
# Run it from the repository, with a Python that has plora, PEFT and pytest: PYTHON=python3 bash benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no GPU that PyTorch can use"; print(torch.cuda.get_device_name())'
"$PYTHON" -m benchmarks.image_step --precision bf16
"$PYTHON" -m benchmarks.image_stream --vit-b --tasks 10 --precision bf16
"$PYTHON" -m benchmarks.language step decoding packing pretraining --precision bf16 --rounds 5
"$PYTHON" -m benchmarks.segmentation step --precision bf16
timeout 240 "$PYTHON" -m pytest -q -m gpu tests/training/test_gpu.py

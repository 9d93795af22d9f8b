"""Images per second of noising and denoising by an ADM U-Net, against a plain float32 loop.

    python benchmarks/adm_chain.py                                  # a small U-Net on a processor
    python benchmarks/adm_chain.py --device cuda --channels-last    # ADM-256 on an accelerator

The measurement is that of :mod:`hierdiff.validation.throughput`, whose flags are read by argparse.
"""

from __future__ import annotations

from hierdiff.validation.throughput import main

if __name__ == "__main__":
    main()

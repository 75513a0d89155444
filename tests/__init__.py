"""Tests in tiers, and what they share: CONTRIBUTING.md says which is which."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

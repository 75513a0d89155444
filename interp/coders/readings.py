"""Other readings of a coder's files, where the files do not say how they are meant.

The one that leaves least of the variance unexplained, with about as many active latents as its
makers say, is the right one.
"""

from dataclasses import replace

from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.linear import LinearCoder
from interp.coders.protocol import Coder
from interp.coders.rules import BatchTopK, Threshold, TopK
from interp.coders.source import AS_TRANSCODER, NOT_SUBTRACTED, SUBTRACTED, TRANSPOSED
from interp.errors import InputError


def readings(coder: Coder) -> dict[str, Coder]:
    """Coders that differ in one thing from a loaded one, by what differs.

    - The decoder's bias is subtracted from what is read, or it is not. Old transcoders of sparsify
      do, newer ones do not, and nothing in their files tells.
    - What its files call an SAE is a transcoder.
    - The skip connection is transposed.
    - The top-k of the training selects, in place of thresholds that were made from it later.
    """
    if isinstance(coder, SparsifyCoder):
        coder = _linear(coder)
    found: dict[str, Coder] = {}
    if not isinstance(coder, LinearCoder):
        return found
    if coder.kind == "sae":
        found[AS_TRANSCODER] = replace(coder, kind="transcoder", centre=None)
    if coder.centre is not None:
        found[NOT_SUBTRACTED] = replace(coder, centre=None)
    elif coder.d_in == coder.d_out:
        found[SUBTRACTED] = replace(coder, centre=coder.decoder_bias)
    if coder.skip_weight is not None and coder.d_in == coder.d_out:
        found[TRANSPOSED] = replace(coder, skip_weight=coder.skip_weight.mT)
    top = coder.rule.trained if isinstance(coder.rule, Threshold) else None
    if isinstance(coder.rule, BatchTopK):
        top = TopK(coder.rule.k, coder.rule.weights)
    if top is not None:
        found[f"{top.meaning} are active"] = replace(coder, rule=top)
    return found


def every_reading(coder: Coder, reading: str = "") -> dict[str, Coder]:
    """A loaded coder, named ``""``, and its other :func:`readings`.

    Args:
        reading: A name that must be among them.

    Raises:
        InputError: It is not.
    """
    others = readings(coder)
    if reading and reading not in others:
        raise InputError(
            f"The coder cannot be read so that {reading}. "
            f"{'Its readings are: ' + '; '.join(others) if others else 'It has one reading only'}."
        )
    return {"": coder, **others}


def _linear(coder: SparsifyCoder) -> LinearCoder:
    """The same coder with its parts at hand."""
    module = coder.module
    bias = module.b_dec.detach()
    return LinearCoder(
        coder.kind,
        module.encoder.weight.detach(),
        module.encoder.bias.detach(),
        coder.decoder,
        bias,
        coder.rule,
        skip_weight=None if module.W_skip is None else module.W_skip.detach(),
        centre=None if coder.kind == "transcoder" else bias,
    )

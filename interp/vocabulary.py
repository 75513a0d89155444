"""The words for what tables hold, the API returns and pages show: one place for each word.

Every term has a value, a label and a one-line meaning. Tables and the API hold the value. Pages,
charts and help show the label and the meaning. To rename a value, write a migration and a line in
the changelog. The list in ``docs/vocabulary.md`` is made from this file.
"""

from enum import StrEnum
from typing import Self


class Term(StrEnum):
    """A word with a label and a meaning. The members are strings."""

    label: str
    meaning: str

    def __new__(cls, value: str, label: str = "", meaning: str = "") -> Self:
        term = str.__new__(cls, value)
        term._value_ = value
        term.label, term.meaning = label, meaning
        return term


class ContextSet(Term):
    """The purpose of the contexts of a set. No document is in two sets."""

    EXPLAIN = "explain", "explain set", "Examples and explanations are made from it."
    CALIBRATE = "calibrate", "calibrate set", "Simulators are calibrated and scored on it."
    EVALUATE = "evaluate", "evaluate set", "Losses are measured on it."


class ExampleKind(Term):
    """How a context of the explain set was chosen as an example of a latent."""

    TOP = "top", "Top activations", "The largest activations."
    QUANTILE = "quantile", "Across its range", "Spread over the activation distribution."
    RANDOM = "random", "Random", "Drawn without regard to the latent."
    HARD_NEGATIVE = (
        "hard_negative",
        "Hard negatives",
        "The latent is silent, with tokens that it is active on elsewhere.",
    )


class ValueState(Term):
    """What is known of the simulated value of a token."""

    SIMULATED = "simulated", "simulated", "The simulator gave a value."
    MISSING = "missing", "missing", "The simulator gave no value."
    NONE = "none", "not simulated", "It was not asked for."
    BOS = "bos", "first token", "The beginning-of-sequence token, which is never simulated."


class Dtype(Term):
    """How the numbers of a subject model are stored."""

    FLOAT32 = "float32", "float32", "Four bytes. Losses are exact to a ten-thousandth of a nat."
    BFLOAT16 = (
        "bfloat16",
        "bfloat16",
        "Two bytes, three digits. The loss of a context is exact to about a hundredth of a nat.",
    )
    FLOAT16 = (
        "float16",
        "float16",
        "Two bytes, four digits. Numbers above 65,504 are infinite.",
    )
    AUTO = "auto", "as its files", "The one that the files of the model are in."


class CalibrationMethod(Term):
    """A map from raw simulated values to activations, fitted on the calibrate set."""

    ISOTONIC = (
        "isotonic",
        "isotonic",
        "Simulated values as the activation to expect, given the value.",
    )
    QUANTILE = (
        "quantile",
        "quantile",
        "Simulated values sent to the real activation of the same rank, zeros included.",
    )
    LINEAR = "linear", "linear", "Simulated values scaled to the latent's maximum."
    NONE = "none", "none", "Simulated values as they are, expected digits from 0 to 9."


class Protocol(Term):
    """The spliced positions of a context, and the losses that count."""

    WHOLE = "whole", "Whole contexts", "Every token of a context is spliced at once."
    PAPER = (
        "paper",
        "Last token",
        "Only the last input token of a context is spliced, and the one prediction made from it "
        "counts, as published.",
    )

    def spliced(self, seq: int, first_position: int) -> slice:
        """The positions of a context of ``seq`` tokens that are spliced.

        Positions before ``first_position``, such as a beginning-of-sequence token, are never
        spliced, in no condition. Nor is the last token, from which nothing is predicted.
        """
        return slice(first_position if self is Protocol.WHOLE else seq - 2, seq - 1)


class Breadth(Term):
    """The contexts of the evaluate set that a loss is measured on."""

    PANEL = "panel", "the panel", "The first contexts: edits are measured on them within seconds."
    ALL = (
        "all",
        "all evaluate contexts",
        "The panel and all others: they give narrower intervals, and follow in the background.",
    )


class Condition(Term):
    """What stands in for the layer. The set is the latents that are rewritten."""

    UNTOUCHED = "untouched", "untouched", "The model as it is. All losses are compared with it."
    REAL_LATENTS = (
        "real_latents",
        "real latents",
        "The coder with the real activations: its own error, before any rewriting.",
    )
    ZERO = "zero", "zero ablation", "The module puts out zero."
    MEAN = "mean", "mean ablation", "The module puts out its mean over the explain set."
    RESAMPLE = (
        "resample",
        "resample ablation",
        "The module puts out what it does at a random position of the explain set.",
    )
    NO_LATENTS = (
        "no_latents",
        "no latents",
        "All latents are zero: the coder's bias, and its skip connection if it has one, are left.",
    )
    SET_ZEROED = (
        "set_zeroed",
        "same latents zeroed",
        "The latents of the set are zero: the loss of having no words for them.",
    )
    RANDOM_LATENTS = (
        "random_latents",
        "random latents",
        "As many latents, drawn at random, active with values from their real distributions.",
    )
    NOISE = (
        "noise",
        "noise, same size",
        "Real latents, and noise in a random direction that is as large as the rewriting's error "
        "on each token.",
    )
    REWRITTEN = "rewritten", "rewritten", "The latents of the set are simulated and calibrated."
    ORACLE_GATING = (
        "oracle_gating",
        "oracle gating",
        "Isotonic values without the false positives: zero wherever the latent is silent.",
    )
    ORACLE_VALUES = (
        "oracle_values",
        "oracle values",
        "True activations where the quantile values say that the latent is active, zero elsewhere.",
    )
    SET_ZEROED_ERROR_KEPT = (
        "set_zeroed_error_kept",
        "zeroed, error kept",
        "The same latents zeroed, with the coder's own error added back.",
    )
    REWRITTEN_ERROR_KEPT = (
        "rewritten_error_kept",
        "rewritten, error kept",
        "Rewritten, isotonic, with the coder's own error added back: with all latents real, the "
        "model would be untouched.",
    )


class Change(Term):
    """What is done to one latent to measure its loss effect."""

    ZEROED = "zeroed", "zeroed", "The latent is zero, all others are real."
    REWRITTEN = "rewritten", "rewritten", "The latent is simulated, all others are real."


class Linearisation(Term):
    """The point at which the loss is linearised, to estimate the loss effects of all latents."""

    REAL_LATENTS = (
        "real_latents",
        "all latents real",
        "Each latent is rewritten alone, all others are real: as the exact loss effect.",
    )
    REWRITTEN = (
        "rewritten",
        "layer rewritten",
        "Each latent is rewritten while all others are: the loss that making it real saves.",
    )
    PATH = (
        "path",
        "from real to rewritten",
        "Each latent's share of the layer's loss increase: the gradient is the mean of both ends.",
    )
    UNTOUCHED = (
        "untouched",
        "untouched model",
        "Each latent is rewritten alone, but the gradient is that of the untouched model.",
    )


class PredictionError(Term):
    """An error of a prediction at one position, to split a layer's loss increase by."""

    MISSED = (
        "missed",
        "missed activations",
        "The latent is active, and predicted silent.",
    )
    FALSE_POSITIVE = (
        "false_positive",
        "false positives",
        "The latent is silent, and predicted active.",
    )
    WRONG_SIZE = (
        "wrong_size",
        "wrong size",
        "The latent is active and predicted active, with another value or pushed out by others.",
    )
    BACKGROUND = (
        "background",
        "background",
        "The latent is silent and predicted silent, but its expected activation is above zero.",
    )


class BudgetSplit(Term):
    """What latents are grouped by, to split a layer's loss increase."""

    LAYER = "layer", "the whole layer", "All rewritten latents together."
    FIRING_RATE = (
        "firing_rate",
        "firing rate",
        "The share of tokens of the explain set on which the latent is active.",
    )
    CALIBRATE_TOKENS = (
        "calibrate_tokens",
        "active calibrate tokens",
        "The number of active tokens that the latent's calibrations were fitted on.",
    )
    KIND = "kind", "kind of latent", "Where its activation concentrates on the explain set."


class LatentKind(Term):
    """The least that holds half of a latent's activation on the explain set."""

    POSITION = "position", "position", "Half of its activation falls on one position of contexts."
    PHRASE = (
        "phrase",
        "phrase",
        "Half of its activation falls on one token after one other token.",
    )
    WORD = "word", "word", "Half of its activation falls on one token of the vocabulary."
    FEW_WORDS = "few_words", "few words", "Half of its activation falls on ten tokens."
    MANY_WORDS = (
        "many_words",
        "many words",
        "Ten tokens hold less than half of its activation: it may stand for a topic, or syntax.",
    )
    TOO_RARE = "too_rare", "too rare to tell", "It is active on fewer than ten tokens."


class Stratum(Term):
    """Contexts of the evaluate set that are sampled alike to measure a latent's loss effect."""

    FIRES = "fires", "fires", "The latent fires in the context."
    PREDICTED = "predicted", "predicted active", "It is only predicted active there."
    SILENT = "silent", "silent", "It is silent there, and predicted silent."


class ScoreName(Term):
    """A score of an explanation on the calibrate set. All are 1 at best."""

    CORRELATION = (
        "correlation",
        "correlation",
        "Pearson correlation of simulated with real activation",
    )
    EXPLAINED_VARIANCE = (
        "explained_variance",
        "explained variance",
        "Share of the real activation's variance that the calibrated simulation explains",
    )
    SENSITIVITY = (
        "sensitivity",
        "sensitivity",
        "Of the tokens where it is active, the share where it is predicted active",
    )
    SPECIFICITY = (
        "specificity",
        "specificity",
        "Of the tokens where it is silent, the share where it is predicted silent",
    )
    F1 = (
        "f1",
        "F1",
        "Harmonic mean of sensitivity and of the share of tokens predicted active that are",
    )
    AUROC = (
        "auroc",
        "AUROC",
        "How often an active token is simulated higher than a silent one; 0.5 is chance",
    )
    DETECTION = (
        "detection",
        "detection",
        "How well a language model tells contexts where it is active from others; 0.5 is chance",
    )
    FUZZING = (
        "fuzzing",
        "fuzzing",
        "How well a language model tells its active tokens from others marked alike; 0.5 is chance",
    )


class Independence(Term):
    """How far a simulator is independent of a study's model and text."""

    INDEPENDENT = "independent", "independent", "None of the others applies."
    SAME_FAMILY = (
        "same family",
        "same family",
        "By its name, the simulator runs on a model of the subject's family.",
    )
    SAME_MODEL = "same model", "same model", "The simulator runs on the subject model itself."
    UNKNOWN = (
        "unknown",
        "unknown",
        "The simulator may have been trained on text that it is measured on.",
    )
    CONTAMINATED = (
        "contaminated",
        "contaminated",
        "The simulator was trained on text that it is measured on.",
    )


class Verdict(Term):
    """What a paired comparison of two losses tells."""

    LOWER = "lower", "lower", "The interval is below zero, and p is below 0.05."
    HIGHER = "higher", "higher", "The interval is above zero, and p is below 0.05."
    CANNOT_TELL = (
        "cannot tell",
        "cannot tell",
        "The 95% interval includes zero, or p is 0.05 or more. Where only one of the two says that "
        "there is a difference, the documents are too few or too unlike to be sure.",
    )


class Outcome(Term):
    """What a sanity check found."""

    PASSED = "passed", "passed", "It holds."
    FAILED = "failed", "failed", "It does not hold: the measurements are wrong somewhere."
    CANNOT_TELL = "cannot tell", "cannot tell", "The data do not decide."


class CoderFit(Term):
    """Where a sparse coder fits a model, as an inspection measures it."""

    HERE = "here", "fits here", "The coder fits this site and reading: a study can be made."
    ELSEWHERE = (
        "elsewhere",
        "fits better elsewhere",
        "The coder fits better at another site, or read in another way.",
    )
    NOWHERE = (
        "nowhere",
        "fits nowhere",
        "No site and no reading that was tried fits. The coder belongs to another layer, another "
        "model, or a model that was changed before it was trained.",
    )


class Variant(Term):
    """An explanation changed by a rule, to see which part of it a simulator goes by."""

    ORIGINAL = "original", "original", "The explanation as it is."
    NO_MARKS = "no_marks", "no quotation marks", "The same words without quotation marks."
    QUOTED = "quoted", "quoted words alone", "The words in quotation marks, and nothing else."
    PROSE = "prose", "prose alone", "Each quotation is replaced by “it”."
    SHUFFLED = "shuffled", "words shuffled", "The same words in random order."
    CAPITALS = "capitals", "capitals", "The same text in capital letters."
    RANDOM_WORDS = (
        "random_words",
        "random words",
        "As many words, drawn at random from the explanations of all latents.",
    )
    OTHERS = "others", "another latent's", "The explanation of another latent, drawn at random."
    GENERIC = "generic", "generic sentence", "“Fires on some tokens.” for every latent."


class AuthorKind(Term):
    """Who wrote an explanation."""

    PERSON = "person", "person", "A person wrote it. No job replaces it."
    MODEL = "model", "model", "An explainer or a language model wrote it."


class Role(Term):
    """What somebody may do while accounts are on. Each may do all that those before it may."""

    READER = "reader", "reader", "Looks at studies and exports them."
    EDITOR = (
        "editor",
        "editor",
        "Edits explanations and lists, comments, and starts and cancels jobs.",
    )
    ADMIN = "admin", "admin", "Makes, changes and deletes studies and simulators."


class TokenScope(Term):
    """What a program may do with an API token, at most. Its owner's role is the other limit."""

    READ = "read", "read", "Reads and exports, as a reader does."
    WRITE = "write", "write", "Does what the role of its owner allows."


class Concept(Term):
    """A word of the field that pages use, and no value of a table or of the API."""

    LATENT = "latent", "latent", "One direction of a sparse coder. It is active on few tokens."
    SPARSE_CODER = (
        "sparse_coder",
        "sparse coder",
        "A transcoder or a sparse autoencoder: it writes an output as a sum of few latents.",
    )
    HOOKPOINT = (
        "hookpoint",
        "hookpoint",
        "The site of the model that the coder writes, such as what a layer's MLP puts out.",
    )
    EXPLANATION = "explanation", "explanation", "A text that says where a latent is active."
    SIMULATOR = (
        "simulator",
        "simulator",
        "A model that reads an explanation and predicts the latent's activation on each token.",
    )
    PREDICTED = "predicted", "predicted", "Said of an activation: the simulator gave it."
    REWRITE = (
        "rewrite",
        "rewrite",
        "The model runs with simulated activations of some latents in place of the real ones.",
    )
    CALIBRATION_MAP = (
        "calibration_map",
        "calibration map",
        "It turns raw simulated values into activations, and is linear between its knots.",
    )
    LOSS_INCREASE = (
        "loss_increase",
        "loss increase",
        "Cross-entropy of the next token, less that of the untouched model. 0 is no harm.",
    )
    NATS = (
        "nats",
        "nats",
        "The unit of cross-entropy with the natural logarithm. At 0.1 nats more, the probability "
        "of the true next token is about 10% lower (geometric mean).",
    )
    LOSS_EFFECT = (
        "loss_effect",
        "loss effect",
        "The loss increase, in nats, when only this latent is changed and all others are real.",
    )
    LEFT_TO_WIN = (
        "left_to_win",
        "left to win",
        "The loss increase of the rewritten layer over real latents. Perfect explanations and a "
        "perfect simulator would win it back.",
    )
    LOSS_RECOVERED = (
        "loss_recovered",
        "loss recovered",
        "0% is as bad as no latents, 100% as good as real latents.",
    )
    FVU = (
        "fvu",
        "FVU",
        "Fraction of variance unexplained: the coder's squared error over the variance of the "
        "module's output. A few tokens with huge vectors may decide it.",
    )
    TYPICAL_FVU = (
        "typical_fvu",
        "typical FVU",
        "The fraction left unexplained of the typical token: the median squared error of a token "
        "over its median squared distance from the centre. A coder's fit is judged by it.",
    )
    FIRING_RATE = "firing_rate", "firing rate", "The share of tokens on which a latent is active."
    RANDOM_BASELINE = (
        "random_baseline",
        "random baseline",
        "The same score for other latents' explanations, with the same simulator and text.",
    )
    ERROR_BUDGET = (
        "error_budget",
        "error budget",
        "The estimated loss increase over real latents, split by the errors that cause it.",
    )
    CEILING = "ceiling", "ceiling", "The score of a perfect simulation."
    SCORER = "scorer", "scorer", "A language model that scores an explanation."
    USAGE = "usage", "usage", "The tokens and seconds that a job takes."


VOCABULARY: tuple[type[Term], ...] = (
    ContextSet,
    ExampleKind,
    ValueState,
    Dtype,
    CalibrationMethod,
    Protocol,
    Breadth,
    Condition,
    Change,
    Linearisation,
    PredictionError,
    BudgetSplit,
    LatentKind,
    Stratum,
    ScoreName,
    Independence,
    Verdict,
    Outcome,
    CoderFit,
    Variant,
    AuthorKind,
    Role,
    TokenScope,
    Concept,
)
"""All of them, in the order in which the docs list them."""

"""Messages of failed commands: one sentence and an exit code, never a stack trace."""

import traceback

from typer.exceptions import TyperException

from cli.errors import CommandError
from interp.errors import InputError
from interp.validation import message
from models.settings import get_settings


def explain(error: Exception) -> tuple[str, int]:
    """A sentence that says what was wrong and what to do, and the exit code."""
    from kombu.exceptions import OperationalError as BrokerError
    from pydantic import ValidationError
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    from app.services.errors import FieldErrors, Refused
    from models.failures import DISK, database_failure, is_disk_full

    match error:
        case TyperException():
            return f"{_usage(error)} See --help.", 2
        case FieldErrors():
            options = ((name.replace("_", "-"), text) for name, text in error.errors.items())
            return " ".join(f"--{name}: {text}" for name, text in options), 1
        case CommandError() | InputError() | Refused():
            return str(error), 1
        case ValidationError():
            problems = (f"{'.'.join(map(str, e['loc']))}: {message(e)}" for e in error.errors())
            return " ".join(problems), 2
        case SQLAlchemyError() if failure := database_failure(error):
            said = getattr(error, "orig", None)  # at the command line is who may mend it
            return f"{failure.sentence} ({said})" if said else failure.sentence, 1
        case RedisError() | BrokerError():
            return f"Redis cannot be reached ({error}). Check that it runs.", 1
        case OSError() if is_disk_full(error):
            return DISK.sentence, 1
        case OSError():
            return str(error), 1
    return _unexpected(error), 1


def _usage(error: Exception) -> str:
    text = getattr(error, "format_message", error.__str__)()
    return text if text.endswith(".") else f"{text}."


def _unexpected(error: Exception) -> str:
    """Keep the trace of what should not happen in a file, and say where."""
    log = get_settings().data / "log" / "command.log"
    text = f"{type(error).__name__}: {error}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)))
    except OSError:
        return text
    return f"{text} (This should not happen; details are in {log}.)"

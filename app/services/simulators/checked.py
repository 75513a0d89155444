"""Check that the language models that people name exist, as far as the web server can see it."""

from typing import TypeVar

from app.services.errors import FieldErrors
from app.services.simulators.schemas import LanguageModel
from interp.errors import InputError
from interp.sources.models import check_model
from interp.sources.paths import located
from models.settings import get_settings

Named = TypeVar("Named", bound=LanguageModel)


def checked(data: Named) -> Named:
    """The same with its path made absolute, if the model is there.

    Names on a hub are taken as they are, and those that a server knows its models by.

    Raises:
        FieldErrors: There is no such model.
    """
    if data.on_server:
        return data
    try:
        check_model(get_settings().model_source(data.model))
    except InputError as error:
        raise FieldErrors({"model": str(error)}) from None
    return data.model_copy(update={"model": located(data.model)})

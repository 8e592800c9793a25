"""Every stable code of the ledger, hints of what to do, and the rejection: an expected answer that changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

__all__ = ["Code", "Hint", "Rejection", "Words", "api_words"]


class Code(Enum):
    """A stable code: its name is the title, `number` what clients switch on, `retry` whether trying again can help."""

    number: str
    retry: bool
    meaning: str

    def __init__(self, number: str, retry: bool, meaning: str) -> None:
        self.number = number
        self.retry = retry
        self.meaning = meaning

    CONFIG_NOT_FOUND = "NB001", False, "No series has this code: define it first."
    SEQUENCE_EXHAUSTED = "NB002", False, "The sequence has fewer values left than the command asks for."
    LOCK_TIMEOUT = "NB003", True, "The command was not begun before its deadline; nothing was done."
    RESERVATION_EXPIRED = "NB004", False, "The reservation expired before the command: reserve again."
    DUPLICATE_NUMBER = "NB005", False, "The number is issued or reserved already."
    INVALID_FORMAT = "NB006", False, "A value of the request is not of its declared form."
    MANUAL_OVERRIDE_NOT_ALLOWED = "NB007", False, "The series gives its numbers out in order only: it is not `manual`."
    REDIS_UNAVAILABLE = "NB008", True, "The mirror is away or behind; nothing else depends on it. Told by health only."
    RESERVATION_NOT_FOUND = "NB009", False, "No reservation has this token."
    RESERVATION_CLOSED = "NB010", False, "The reservation was already confirmed, cancelled or passed over by a restore."
    LIFETIME_EXCEEDED = "NB011", False, "The reservation would live longer than its series allows."
    AMENDMENT_REFUSED = (
        "NB012",
        False,
        "The series counts otherwise now, or would be left with a maximum below what it has passed.",
    )
    PERIOD_NOT_BEGUN = "NB013", False, "The document date lies in a period that has not begun."
    DATE_OUT_OF_ORDER = "NB014", False, "A later period of the series was already used."
    IDEMPOTENCY_KEY_REUSED = "NB015", False, "The idempotency key was used for another request."
    OUTCOME_UNKNOWN = "NB016", True, "The database did not say whether it committed: retry with the same key."
    QUEUE_FULL = "NB017", True, "Too many commands are waiting; nothing was done."
    DATABASE_UNAVAILABLE = "NB018", True, "The database does not answer; nothing was done."
    DATABASE_READ_ONLY = "NB019", True, "The database refuses writes; nothing was done."
    DATABASE_FULL = "NB020", True, "The database has no space left; nothing was done."
    DATABASE_NOT_MIGRATED = "NB021", True, "The database lacks the ledger's tables: run `numbering migrate`."
    DATABASE_UNSAFE = "NB022", False, "The database could lose an acknowledged number; see its settings."
    LEDGER_STOPPED = "NB023", False, "Writing is stopped until an operator has looked at the ledger."
    SHUTTING_DOWN = "NB024", True, "The service is stopping; nothing was done."
    INTERNAL_ERROR = "NB025", False, "A bug of the service; the command had no effect."
    MALFORMED_JSON = "NB026", False, "The body is not a JSON object."
    BODY_TOO_LARGE = "NB027", False, "The body is larger than 1 MiB."
    NOT_FOUND = "NB028", False, "Nothing is served at this path."
    METHOD_NOT_ALLOWED = "NB029", False, "The path does not take this method."
    UNAUTHORIZED = "NB030", False, "The request carries no valid credentials."
    CROSS_ORIGIN = "NB031", False, "A page of another site sent the request; only services may."
    IMPORT_REFUSED = "NB032", False, "Rows of the register do not fit; nothing was written."
    NO_TEMPLATE = "NB033", False, "No template of the named series prints this number, or none prints it any more."
    AMBIGUOUS_NUMBER = "NB034", False, "The number can be read in two ways: by two series, or twice by one."
    REPEATED_ROW = "NB035", False, "An earlier row of the register has this number."
    OUT_OF_RANGE = "NB036", False, "The value is below the start or above the maximum of its series."
    SERIES_AMENDED = "NB037", True, "The series was amended while the register was read: send it again."
    REGISTER_TOO_LARGE = "NB038", False, "The register is larger than one import may be: split it."
    AMBIGUOUS_TEMPLATE = "NB039", False, "The template would print a number that can be read in two ways."
    TEMPLATE_TOO_COMPLEX = "NB040", False, "The template is too complex to be proved unambiguous within bounds."
    NUMBER_NOT_FOUND = "NB041", False, "No template of the ledger prints this number, or it was never given out."
    NUMBER_NOT_CONFIRMED = "NB042", False, "Only a confirmed number can be voided or linked to a document."
    NUMBER_PRINTED_OTHERWISE = "NB043", False, "The value was printed as another number: name it as it was printed."
    SEQUENCE_NOT_FOUND = "NB044", False, "No sequence has this id, or it has not begun."
    PERIOD_CLOSED = "NB045", False, "The period of the sequence is closed: its numbers can only be voided or linked."
    RESERVATIONS_OPEN = "NB046", True, "Reservations of the sequence are still open."
    SERIES_RETIRED = "NB047", False, "The series is retired: it gives out no more numbers."
    NOT_FORWARD = "NB048", False, "A sequence moves forward only, past values that it has not passed yet."
    RESET_NOT_ALLOWED = "NB049", False, "The series never resets, so it has no periods to begin."
    PERIOD_ALREADY_OPEN = "NB050", False, "The period was begun already."
    CHANGED_MEANWHILE = "NB051", True, "The number changed while it was looked up: send the command again."
    ACCOUNTING_TOO_LARGE = "NB052", False, "The sequence has more ranges than one closing can hold."
    POSITION_NOT_REACHED = "NB053", False, "The log ends before this position, which is another ledger's or was lost."
    EVENTS_TRIMMED = "NB054", False, "The events behind this position are in the archive, no longer in the database."
    TOO_MANY_STREAMS = "NB055", True, "The process serves as many streams of events as it may."
    MIRROR_NOT_COMPARED = (
        "NB056",
        True,
        "The mirror was not compared yet, or has entries that nothing proves: no writing.",
    )
    PROJECTION_BEHIND = "NB057", True, "The tables for reading have not come to this position yet."
    LOG_DAMAGED = "NB058", False, "The log, or a copy of it, was changed, or lacks events."
    ARCHIVE_UNUSABLE = "NB059", False, "The directory is no archive, or the archive in it is not whole."
    HISTORIES_DIFFER = "NB060", False, "Two copies of the log do not belong together, or one lacks what the other has."
    TARGET_NOT_EMPTY = "NB061", False, "A restore needs an empty place, and this one holds something."
    NOT_IN_HISTORY = "NB062", False, "The log does not reach to this position or time."
    STORAGE_FAILED = "NB063", True, "A directory or file could not be written; what was there before is whole."
    EXPORT_UNUSABLE = "NB064", False, "The directory is no export, or its manifest is not one that an export writes."
    STILL_FOLDING = "NB065", True, "The state of then is not computed yet: the same request finds it later."
    DATABASE_TOO_NEW = "NB066", False, "A newer version made the database's tables, and this one cannot work on them."
    FORMAT_NOT_RAISED = "NB067", False, "The ledger's format is too old for this command: run `numbering upgrade`."
    OLDER_PROCESSES = "NB068", True, "An earlier version may have the ledger open, so the format was not raised."
    CLOCK_UNSURE = "NB069", True, "The clocks disagree, so nothing can be dated; nothing was done."
    LEDGER_CLOSED = "NB076", False, "The ledger is closed: nothing is written until it is opened again."
    NOT_COMPLETE = "NB077", False, "A copy of the log is not known to hold all that was written."
    ACCEPTANCE_NEEDED = "NB070", False, "The act cannot be undone, and must say that it is meant: see `needs`."
    TOO_MANY_SKIPPED = "NB071", False, "More values would be skipped than the command allows: see `needs`."
    REOPENING_REFUSED = "NB072", False, "What is to be reopened is open, has passed values, or was closed by a restore."


class Hint(Enum):
    """What to do, where each face says it in words of its own; these here are what clients of the API are told."""

    words: str

    def __init__(self, words: str) -> None:
        self.words = words

    DEFINE_SERIES = "define it first"
    SEND_AGAIN_WITH_KEY = "send it again with the same Idempotency-Key"
    SEE_LOG = "its log has the cause"
    ACCEPT_RUNNING_PERIOD = 'if this is meant, send it again with "accept": ["running_period"]'
    ACCEPT_FAR_PERIOD = 'if this is meant, send it again with "accept": ["far_period"]'
    RAISE_MAX_SKIPPED = "if this is meant, send it again with a max_skipped of at least so many"


Words = Callable[[Hint], str]


def api_words(hint: Hint) -> str:
    return hint.words


class Rejection(Exception):
    """The answer to a command that may not be carried out; `retry` of its code says whether another try can help.

    `happened` is what is wrong, often with what to do; `hint` is what to do where faces word that differently.
    `errors` names each offending field as (path, problem); `members` is what else would help, as JSON can tell it.
    """

    def __init__(
        self,
        code: Code,
        happened: str,
        errors: Iterable[tuple[str, str]] = (),
        members: Mapping[str, object] | None = None,
        *,
        hint: Hint | None = None,
    ) -> None:
        super().__init__(happened)
        self.code = code
        self.happened = happened
        self.hint = hint
        self.errors = tuple(errors)
        self.members = dict(members or {})
        self._of_all: int | None = None

    def __str__(self) -> str:
        return self.detail

    @property
    def detail(self) -> str:
        """What is wrong and what to do, as clients of the API are told."""
        return self.told(api_words)

    def told(self, words: Words) -> str:
        text = self.happened if self.hint is None else f"{self.happened}; {words(self.hint)}"
        if self._of_all is None:
            return text
        return f"commands[{self._of_all}]: {text}; none of the commands was carried out"

    @classmethod
    def invalid(cls, field: str, problem: str) -> "Rejection":
        """INVALID_FORMAT for one field."""
        return cls(Code.INVALID_FORMAT, f"{field} {problem}", [(field, problem)])

    def of_command(self, index: int) -> "Rejection":
        """Name the fields as a list of commands has them."""
        errors = [(f"commands[{index}].{field}", flaw) for field, flaw in self.errors]
        return Rejection(self.code, self.happened, errors, self.members, hint=self.hint)

    def of_all(self, index: int) -> "Rejection":
        """Say that one of several commands kept all from being carried out."""
        whole = self.of_command(index)
        whole.members["index"], whole._of_all = index, index
        return whole

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.git.fence import LEDGER_LIMIT, Claim, Ledger, Line, read_ledger

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.integers(0), st.dictionaries(words, st.tuples(words, st.none() | st.just("") | words), max_size=5))
def test_a_ledger_can_be_read_back(turn: int, claims: dict[str, tuple[str, str | None]]) -> None:
    ledger = Ledger(turn, tuple(Line(request, claim, over) for request, (claim, over) in claims.items()))
    assert read_ledger(ledger.blob()) == ledger


@given(st.binary(max_size=200))
def test_whatever_stands_in_the_blob_is_read_without_an_error(blob: bytes) -> None:
    read_ledger(blob)


def test_a_claim_replaces_the_line_of_its_request_alone() -> None:
    ledger = (
        Ledger().with_claim(Claim("a", "r1")).with_claim(Claim("b", "r2")).with_claim(Claim("c", "r1", ("a",)))
    )
    assert ledger.lines == (Line("r2", "b", ""), Line("r1", "c", "a"))
    assert ledger.line("r3") is None


def test_no_two_turns_are_alike_and_the_oldest_lines_are_forgotten() -> None:
    ledger, seen = Ledger(), set()
    for number in range(LEDGER_LIMIT + 1):
        ledger = ledger.with_claim(Claim("c", f"r{number}"))
        seen.add(ledger.blob())
    assert len(seen) == LEDGER_LIMIT + 1
    assert ledger.next_turn().blob() not in seen
    assert ledger.line("r0") is None
    assert ledger.line("r1") == Line("r1", "c", "")


def test_the_refs_belong_to_the_project_of_the_first_claim() -> None:
    """A claim that names no project is nobody's rival: older ledgers hold such ones."""
    own = Ledger().with_claim(Claim("claim-1", "request-1", project="shop one"))
    later = read_ledger(own.with_claim(Claim("claim-2", "request-2", project="till")).blob())
    assert later.project == "shop one"
    assert later.is_foreign_to(Claim("claim-3", "request-3", project="till"))
    assert not later.is_foreign_to(Claim("claim-3", "request-3", project="shop one"))
    assert not later.is_foreign_to(Claim("claim-3", "request-3"))
    assert not Ledger().is_foreign_to(Claim("claim-3", "request-3", project="till"))


@pytest.mark.parametrize(
    ("claim_id", "over", "follows"),
    [
        ("third", "second", True),  # our own
        ("first", "", True),
        ("second", "first", True),
        ("lost", "", True),  # the first has replaced nothing, so nobody else ever will
        ("lost", "first", True),
        ("rival", "second", False),  # the history may yet grant it, and refuse ours
        ("successor", "third", False),
        ("second-successor", "successor", False),
        ("of an older version", None, False),
    ],
)
def test_a_claim_follows_what_has_had_its_time_and_nothing_else(
    claim_id: str, over: str | None, follows: bool
) -> None:
    claim = Claim("third", "request", ("first", "second"))
    assert claim.may_follow(Line("request", claim_id, over)) is follows


@pytest.mark.parametrize("over", ["", "first", None])
def test_a_first_claim_follows_nobody(over: str | None) -> None:
    """Whatever stands there may be granted yet, or has been granted meanwhile."""
    assert not Claim("second", "request").may_follow(Line("request", "other", over))

import json
import time
from typing import Any

import pytest

from events.families.audit import Recommendation
from services.agents.answers import Finding, Issue, Probe, Report, Tokens
from services.agents.reading import AnswerUnreadable, fitting
from services.agents.report import read_report
from services.agents.verdict import read_verdict

APPROVAL: dict[str, Any] = {"recommendation": "approve", "confidence": 0.8}


def verdict_of(**keys: Any):
    return read_verdict(json.dumps({**APPROVAL, **keys}).encode())


def test_a_whole_verdict_is_read():
    finding = {"severity": "major", "category": "security", "path": "a.py", "line": 3, "message": "hole"}
    verdict = verdict_of(recommendation="revise", findings=[finding], suggested_patches=["--- a\n"], summary="No.")
    assert verdict.recommendation is Recommendation.REVISE
    assert verdict.confidence == 0.8
    assert verdict.findings == (Finding("major", "security", "a.py", 3, "hole"),)
    assert verdict.suggested_patches == ("--- a\n",)
    assert verdict.tokens is None


@pytest.mark.parametrize(("word", "number"), [("low", 0.25), ("medium", 0.5), ("high", 0.9), (0, 0), (1, 1)])
def test_confidence_may_be_a_word(word: object, number: float):
    assert verdict_of(confidence=word).confidence == number


def test_the_names_of_the_first_version_are_taken():
    old = {
        "description": "hole",
        "evidence_refs": ["log:3"],
        "source": "auditor",
        "issue_key": "k",
        "severity": "minor",
    }
    patch = {"description": "d", "patch_content": "--- a\n", "files_affected": []}
    verdict = verdict_of(
        issues_found=[old], probe_results=[], review_notes="n", suggested_patches=[patch, ""], auditor_attempts=1
    )
    assert verdict.findings == (Finding("minor", message="hole", issue_key="k", evidence=("log:3",)),)
    assert verdict.suggested_patches == ("--- a\n",)
    assert verdict.summary == "n"


DEEP = b'{"recommendation":"approve","confidence":1,"findings":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  \n",
        b"Looks good to me!",
        b"approve",
        b"[]",
        b'"approve"',
        b"null",
        b'{"recommendation":"approve"}',
        b'{"confidence":1}',
        b'{"recommendation":"approve","confidence":1} trailing',
        b'Sure! {"recommendation":"approve","confidence":1}',
        b'```json\n{"recommendation":"approve","confidence":1}\n```',
        b'{"recommendation":"approve","confidence":1}{"recommendation":"revise","confidence":1}',
        b'{"recommendation":"revise","recommendation":"approve","confidence":1}',
        b'{"recommendation":"approve","confidence":NaN}',
        b'{"recommendation":"approve","confidence":Infinity}',
        b'{"recommendation":"approve","confidence":1e999}',
        b'{"recommendation":"approve","confidence":1.01}',
        b'{"recommendation":"approve","confidence":-0.1}',
        b'{"recommendation":"approve","confidence":true}',
        b'{"recommendation":"approve","confidence":"0.9"}',
        b'{"recommendation":"approve","confidence":"certain"}',
        b'{"recommendation":"approve","confidence":null}',
        b'{"recommendation":"Approve","confidence":1}',
        b'{"recommendation":"approved","confidence":1}',
        b'{"recommendation":["approve"],"confidence":1}',
        b'{"recommendation":"approve","confidence":1,"finding":[{"severity":"major"}]}',
        b'{"recommendation":"approve","confidence":1,"findings":{"severity":"major"}}',
        b'{"recommendation":"approve","confidence":1,"findings":["bad"]}',
        b'{"recommendation":"approve","confidence":1,"findings":[{"severity":"catastrophic"}]}',
        b'{"recommendation":"approve","confidence":1,"findings":[{"line":"3"}]}',
        b'{"recommendation":"approve","confidence":1,"findings":[{"line":1e999}]}',
        b'{"recommendation":"approve","confidence":1,"findings":[],"issues_found":[]}',
        b'{"recommendation":"approve","confidence":1,"findings":[{"message":"a","description":"b"}]}',
        b'{"recommendation":"approve","confidence":1,"suggested_patches":[1]}',
        b'{"recommendation":"approve","confidence":1,"suggested_patches":[{"patch":"x"}]}',
        b'{"recommendation":"approve","confidence":1,"tokens":{"input":-1}}',
        b'{"recommendation":"approve","confidence":1,"tokens":{"input":' + b"9" * 5000 + b"}}",
        b'\xff\xfe{"recommendation":"approve","confidence":1}',
        '{"recommendation":"approve","confidence":1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"recommendation":"approve","confidence":1}',
        b'{"recommendation":"approve","confidence":1,}',
        b'{"recommendation":"approve","confidence":1',
        DEEP,
    ],
    ids=lambda data: repr(data[:60]),
)
def test_anything_but_one_whole_verdict_is_unreadable_and_never_an_approval(data: bytes):
    with pytest.raises(AnswerUnreadable):
        read_verdict(data)


def test_texts_are_made_fit_for_tables_and_events():
    verdict = verdict_of(findings=[{"message": "nul\0bell\7half\ud800 tab\t", "path": "x" * 9000}])
    assert verdict.findings[0].message == "nulbellhalf? tab\t"
    assert len(verdict.findings[0].path or "") == 1000
    many = [{"severity": "minor", "message": "ü" * 900}] * 100 + [{"severity": "critical", "message": "grave"}]
    kept = verdict_of(findings=many)
    assert len(json.dumps([finding.message for finding in kept.findings], ensure_ascii=False).encode()) < 40_000
    assert kept.findings[0].message == "grave"
    assert kept.notes == (f"{101 - len(kept.findings)} of 101 findings were left out",)


def test_a_key_that_comes_twice_is_found_in_one_pass():
    keys = ",".join(f'"{number}":0' for number in (*range(100_000), 99_999))
    started = time.process_time()
    with pytest.raises(AnswerUnreadable, match="'99999' stands there twice"):
        read_verdict(f"{{{keys}}}".encode())
    assert time.process_time() - started < 5


def test_a_thousand_findings_are_taken_and_not_one_more():
    assert len(verdict_of(findings=[{}] * 1000).findings) > 100
    with pytest.raises(AnswerUnreadable, match="1001 findings, where 1000 may be"):
        verdict_of(findings=[{}] * 1001)
    with pytest.raises(AnswerUnreadable, match="1001 findings"):
        verdict_of(issues_found=[{}] * 1001)


def test_a_finding_with_much_evidence_is_cut_and_hides_none_that_follow():
    much = {"severity": "major", "message": "hole", "evidence": ["e" * 200] * 160}
    verdict = verdict_of(recommendation="revise", findings=[much, {"severity": "major", "message": "other"}])
    assert [finding.message for finding in verdict.findings] == ["hole", "other"]
    assert verdict.findings[0].evidence == ("e" * 200,) * 5
    assert verdict.notes == ()


def test_an_issue_with_many_paths_is_cut_and_hides_none_that_follow():
    many = {"issue_key": "many", "paths": [f"{'p' * 100}{n}" for n in range(400)], "evidence": ["e"] * 400}
    report = read_report(json.dumps({"issues": [many, {"issue_key": "other"}]}).encode())
    assert [issue.issue_key for issue in report.issues] == ["many", "other"]
    assert (len(report.issues[0].paths), len(report.issues[0].evidence)) == (20, 5)
    assert report.notes == ()


def test_what_is_too_large_for_an_event_hides_nothing_that_is_not():
    assert fitting(["a", "b" * 100, "c"], 50) == ("a", "c")


def test_a_whole_report_is_read():
    report = read_report(
        json.dumps(
            {
                "summary": "Did it.",
                "needs_review": True,
                "tokens": {"input": 5, "cached_input": 2, "output": 3, "reasoning": 1},
                "cost_usd": 0.5,
                "probes": [{"name": "pytest", "outcome": "passed", "exit_code": 0, "output": "ok"}],
                "issues": [{"issue_key": "k", "message": "m", "paths": ["a"], "evidence": ["e"]}],
                "unknown": 1,
            }
        ).encode()
    )
    assert report == Report(
        "Did it.",
        True,
        Tokens(5, 2, None, 3, 1),
        0.5,
        (Probe("pytest", "passed", 0, "ok"),),
        (Issue("k", None, "", "m", ("a",), ("e",)),),
    )


@pytest.mark.parametrize("data", [b"{}", b'{"tokens":null}', b'{"tokens":{}}', b'{"tokens":{"total":7}}'])
def test_tokens_not_reported_are_unknown_and_not_zero(data: bytes):
    report = read_report(data)
    assert report.tokens is None
    assert report.notes == ()


def test_a_bad_key_spoils_no_other_and_is_noted():
    report = read_report(
        b'{"summary":7,"needs_review":"yes","tokens":{"input":-1},"cost_usd":true,"issues":[{"issue_key":""},'
        b'{"issue_key":"good"},3],"probes":{"name":"x"}}'
    )
    assert report.summary == ""
    assert report.tokens is None
    assert report.cost_usd is None
    assert [issue.issue_key for issue in report.issues] == ["good"]
    assert [note.partition(" in the report")[0] for note in report.notes] == [
        "tokens", "summary", "needs_review", "cost_usd", "probes", "issues[0]", "issues[2]",
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"no json", b"[1]", b"{" * 50_000, b'{"cost_usd":NaN}', b"\xff"])
def test_a_report_that_cannot_be_read_is_a_note(data: bytes):
    report = read_report(data)
    assert report.tokens is None
    assert len(report.notes) == 1
    assert report.notes[0].startswith("the report was not used: ")


def test_the_first_versions_report_is_taken():
    report = read_report(
        b'{"probe_results":[{"probe_type":"pytest","exit_code":1,"stdout":"out"}],"notes":"text",'
        b'"suggested_issues":[{"issue_key":"k","severity":"minor","category":"c","description":"d"}]}'
    )
    assert report.summary == "text"
    assert report.probes == (Probe("pytest", "", 1, "out"),)
    assert report.issues == (Issue("k", "minor", "c", "d"),)
    assert report.notes == ()

"""JUnit reports are read as what they are: files that somebody hostile may have written."""

from pathlib import Path

import pytest

from services.verifier.junit import LARGEST_REPORT_BYTES, count_tests, remove_report

LAUGHS = (
    '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><r><testcase name="&c;"/></r>'
)


def counted(folder: Path, report: str | bytes) -> int | None:
    (folder / "report.xml").write_bytes(report.encode() if isinstance(report, str) else report)
    return count_tests(folder, "report.xml")


def test_every_test_case_of_every_suite_is_counted(tmp_path: Path):
    suite = "<testsuite><testcase name='a'/><testcase><failure>x</failure></testcase></testsuite>"
    assert counted(tmp_path, f"<testsuites>{suite}{suite}</testsuites>") == 4
    assert counted(tmp_path, "<testsuite/>") == 0
    assert counted(tmp_path, f"<?xml version='1.0' encoding='utf-16'?>{suite}".encode("utf-16")) == 2


@pytest.mark.parametrize(
    "report",
    [
        "",
        "no xml",
        "<testsuite><testcase/>",
        "<a/><b/>",
        LAUGHS,
        LAUGHS.encode("utf-16"),
        '<!DOCTYPE r SYSTEM "file:///etc/passwd"><r><testcase/></r>',
        "<?xml version='1.0' encoding='no-such-encoding'?><testcase/>",
        b"<a>\xff</a>",
    ],
)
def test_what_is_no_plain_report_is_not_counted(tmp_path: Path, report: str | bytes):
    assert counted(tmp_path, report) is None


def test_deep_nesting_is_survived(tmp_path: Path):
    depth = 1_000_000
    assert counted(tmp_path, "<a>" * depth + "<testcase/>" + "</a>" * depth) == 1


def test_a_report_that_is_too_large_is_not_read(tmp_path: Path):
    with (tmp_path / "report.xml").open("wb") as file:
        file.truncate(LARGEST_REPORT_BYTES + 1)
    assert count_tests(tmp_path, "report.xml") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../report.xml", "", ".", "a/../../report.xml", "a\0b"])
def test_a_path_out_of_the_folder_is_neither_read_nor_removed(tmp_path: Path, path: str):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "report.xml").write_text("<testcase/>")
    assert count_tests(inner, path) is None
    remove_report(inner, path)
    assert (tmp_path / "report.xml").exists()


def test_a_link_above_a_report_is_not_followed(tmp_path: Path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "report.xml").write_text("<testcase/>")
    (inner / "out").symlink_to(tmp_path)
    assert count_tests(inner, "out/report.xml") is None
    remove_report(inner, "out/report.xml")
    assert (tmp_path / "report.xml").exists()


def test_a_report_is_removed_so_that_an_old_one_counts_for_nothing(tmp_path: Path):
    assert counted(tmp_path, "<testcase/>") == 1
    remove_report(tmp_path, "report.xml")
    assert count_tests(tmp_path, "report.xml") is None
    remove_report(tmp_path, "report.xml")

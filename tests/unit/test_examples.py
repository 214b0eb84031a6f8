"""The example data sets: parsing, splitting, downloading from an archive.

Knows nothing about the network: small XML snippets stand for the packages.
"""

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from edgelora.data.rows import read_rows
from examples.download import DatasetError, read_member, write_rows
from examples.labelled_xml import merge_fields, split_rows
from examples.mailbox.mails import OTHER, TOPICS, one_topic
from examples.prepare_address_tags import parse_tags, split_tags
from examples.prepare_addresses import INSTRUCTION, parse_addresses
from examples.prepare_icd import CHAPTERS, Term, parse_terms, split_terms, to_row
from examples.prepare_icd_pairs import Pair, parse_pairs, split_pairs
from examples.prepare_names import KEYS, parse_names
from examples.topic_tables import parse_table

ADDRESSES = """<AddressCollection>
  <AddressString><AddressNumber>12</AddressNumber> <StreetName>Peña</StreetName> <StreetName>Blanca</StreetName>
  <StreetNamePostType>Rd.,</StreetNamePostType> <PlaceName>Ely,</PlaceName> <StateName>NV</StateName></AddressString>
  <AddressString><AddressNumber>12</AddressNumber> <StreetName>PEÑA</StreetName> <StreetName>blanca</StreetName>
  <StreetNamePostType>rd.,</StreetNamePostType> <PlaceName>Ely,</PlaceName> <StateName>nv</StateName></AddressString>
  <AddressString><StreetName>A</StreetName> <IntersectionSeparator>&amp;</IntersectionSeparator>
  <StreetName>B</StreetName>
  </AddressString>
  <AddressString><PlaceName>,</PlaceName></AddressString>
</AddressCollection>""".encode()

PEOPLE = b"""<NameCollection>
  <Name><Surname>Russell,</Surname> <GivenName>Ana</GivenName> <MiddleInitial>B.</MiddleInitial></Name>
  <Name><Surname>BELL</Surname>
  </Name>
  <Name><GivenName>Jo</GivenName> <And>&amp;</And> <GivenName>Al</GivenName> <Surname>Fry</Surname></Name>
  <Name><GivenName>kay</GivenName> <Surname>jewelers</Surname></Name>
</NameCollection>"""
COMPANIES = b"""<NameCollection>
  <Name><CorporationName>swidler</CorporationName> <CorporationName>berlin</CorporationName>
  <CorporationNameAndCompany>&amp;</CorporationNameAndCompany>
  <CorporationNameAndCompany>co,</CorporationNameAndCompany> <CorporationLegalType>llc</CorporationLegalType></Name>
  <Name><CorporationName>Kay</CorporationName> <CorporationName>Jewelers</CorporationName></Name>
</NameCollection>"""


def icd(chapter: str, codes: str, *categories: tuple[str, tuple[str, ...]]) -> str:
    diags = "".join(
        f"<diag><name>{name}</name><desc>{terms[0]}</desc><diag><name>{name}.0</name><desc>{terms[1]}</desc>"
        + "".join(f"<inclusionTerm><note>{term}</note></inclusionTerm>" for term in terms[2:])
        + "</diag></diag>"
        for name, terms in categories
    )
    return f"<chapter><name>{chapter}</name><desc>Title ({codes})</desc><section>{diags}</section></chapter>"


def test_addresses_are_merged_deduplicated_and_unambiguous() -> None:
    (row,) = parse_addresses(ADDRESSES)
    assert row["prompt"] == INSTRUCTION + "12 Peña Blanca Rd., Ely, NV"
    assert json.loads(row["completion"]) == {
        "number": "12",
        "street": "Peña Blanca",
        "type": "Rd.",
        "city": "Ely",
        "state": "NV",
    }
    assert next(iter(json.loads(row["completion"]))) == "number"
    assert " :" not in row["completion"]


def test_address_tags_keep_every_word_and_leave_separators_out() -> None:
    first, crossing, _ = parse_tags(ADDRESSES)
    assert first["tokens"] == ["12", "Peña", "Blanca", "Rd.", ",", "Ely", ",", "NV"]
    assert first["tags"] == ["B-number", "B-street", "I-street", "B-type", "O", "B-city", "O", "B-state"]
    assert crossing["tags"] == ["B-street", "B-and", "B-street"]
    rows = [{"tokens": [str(index)], "tags": ["B-a" if index % 2 else f"B-{index}"]} for index in range(20)]
    train, held_out = split_tags(rows, 8, seed=0)
    assert sorted(train + held_out, key=lambda row: int(row["tokens"][0])) == rows
    assert 0 < len(held_out) < 8
    assert {row["tags"][0] for row in held_out} == {"B-a"}


def test_names_leave_out_single_words_couples_and_what_both_files_claim() -> None:
    rows = parse_names(PEOPLE, COMPANIES)
    assert [row["prompt"].partition(": ")[2] for row in rows] == ["Russell, Ana B.", "swidler berlin & co, llc"]
    assert [json.loads(row["completion"]) for row in rows] == [
        {"last": "Russell", "first": "Ana", "middle_initial": "B."},
        {"company": "swidler berlin", "partners": "& co", "legal": "llc"},
    ]
    assert len(parse_names(PEOPLE)) == 2
    assert len(set(KEYS.values())) == len(KEYS)


def test_merge_fields_refuses_a_label_that_comes_back() -> None:
    assert merge_fields([("A", "1,"), ("A", "2;"), ("B", "x"), ("C", ","), ("B", "y")]) == {"A": "1 2", "B": "x y"}
    assert merge_fields([("A", "1"), ("B", "x"), ("A", "2")]) == {}
    assert merge_fields([]) == {}


def test_address_split_is_deterministic_and_disjoint() -> None:
    rows = [{"prompt": str(index), "completion": "{}"} for index in range(50)]
    train, held_out = split_rows(rows, 7, seed=3)
    assert (train, held_out) == split_rows(rows, 7, seed=3)
    assert (train, held_out) != split_rows(rows, 7, seed=4)
    assert len(held_out) == 7
    assert sorted(int(row["prompt"]) for row in train + held_out) == list(range(50))


def test_icd_terms_carry_chapter_and_category() -> None:
    xml = (
        "<tabular>"
        + icd(
            "7",
            "H00-H59",
            ("H25", ("Cataract", "Senile cataract", "Morgagnian  cataract")),
            ("H40", ("Glaucoma", "X" * 91)),
        )
        + icd(
            "8", "H60-H95", ("H61", ("Other disorders", "Tinnitus", "tinnitus")), ("H62", ("other Disorders", "Otitis"))
        )
        + "</tabular>"
    )
    terms = parse_terms(xml.encode())
    assert {(term.text, term.label, term.category) for term in terms} == {
        ("Cataract", "eye", "H25"),
        ("Senile cataract", "eye", "H25"),
        ("Morgagnian cataract", "eye", "H25"),
        ("Glaucoma", "eye", "H40"),
        ("tinnitus", "ear", "H61"),
        ("Otitis", "ear", "H62"),
    }


@pytest.mark.parametrize(("number", "codes"), [("23", "A00-B99"), ("1", "A00-B98")])
def test_another_edition_is_refused(number: str, codes: str) -> None:
    with pytest.raises(DatasetError, match=f"chapter '?{number}"):
        parse_terms(f"<tabular>{icd(number, codes, ('A00', ('Cholera', 'Typhus')))}</tabular>".encode())


def test_icd_split_leaks_no_category_and_stays_balanced() -> None:
    terms = [
        Term(f"{label} {category} {index}", label, f"{label}{category}")
        for label, sizes in {"a": (90, 3, 3, 4, 5, 6, 7, 8), "b": (2, 9), "c": (5,)}.items()
        for category, size in enumerate(sizes)
        for index in range(size)
    ]
    train, held_out = split_terms(terms, 20, 4, seed=1)
    assert (train, held_out) == split_terms(terms, 20, 4, seed=1)
    assert not {term.category for term in train} & {term.category for term in held_out}
    assert not set(train) & set(held_out)
    assert Counter(term.label for term in train) == {"a": 20, "b": 9, "c": 5}  # the larger of two stays in training
    held = Counter(term.label for term in held_out)
    assert held["b"] == 2
    assert 0 < held["a"] <= 4
    assert len({term.category for term in train if term.label == "a"}) == 7  # every category had its turn


def test_icd_pairs_hold_each_text_once_and_no_category_in_both_parts() -> None:
    first = ("H25", ("Cataract", "Senile cataract", "senile  Cataract", "Coronary cataract", "Punctate cataract"))
    xml = icd("7", "H00-H59", first, ("H40", ("Glaucoma", "Ocular hypertension", "Cataract", "Coronary cataract")))
    assert parse_pairs(f"<tabular>{xml}</tabular>".encode()) == [
        Pair("Coronary cataract", "Senile cataract", "H25"),
        Pair("Cataract", "Ocular hypertension", "H40"),
    ]
    pairs = [Pair(f"a{index}", f"b{index}", f"C{index // 3}") for index in range(90)]
    train, held_out = split_pairs(pairs, 1)
    assert (train, held_out) == split_pairs(pairs, 1)
    assert len(held_out) == 15
    assert sorted(train + held_out, key=lambda pair: int(pair.anchor[1:])) == pairs
    assert not {pair.category for pair in train} & {pair.category for pair in held_out}


def test_topic_tables_are_read_or_refused_by_line() -> None:
    assert parse_table("Category\tText\nd\tstring\nclass\t\n\nearn\tnet é up \n".encode(), "t") == [
        ("earn", "net é up")
    ]
    with pytest.raises(DatasetError, match="t: the first line is 'Topic'"):
        parse_table(b"Topic\n", "t")
    with pytest.raises(DatasetError, match="t: line 4 has no topic"):
        parse_table(b"Category\tText\nd\tstring\nclass\t\nearn\n", "t")


def test_a_topic_is_told_from_all_others_alike() -> None:
    mails = [(topic, f"{topic} {index}") for topic in (*TOPICS, OTHER) for index in range(30)]
    rows = one_topic(mails, "space")
    assert len(rows) == 60
    assert Counter(row["label"] for row in rows[:20]) == {"space": 10, OTHER: 10}
    others = Counter(row["text"].rsplit(" ", 1)[0] for row in rows[:20] if row["label"] == OTHER)
    assert set(others) == {*TOPICS, OTHER} - {"space"}
    assert len({row["text"] for row in rows}) == 60


def test_labels_can_be_told_apart_from_the_start() -> None:
    labels = [label for label, _ in CHAPTERS.values()]
    assert len(labels) == 22
    assert len({label[:3] for label in labels}) == 22
    assert sum(len(label) for label in labels) < 22 * 16


def test_written_rows_are_what_the_trainer_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    rows = [to_row(Term("Ménière's disease", "ear", "H81")), {"prompt": "p", "completion": "{}"}]
    assert write_rows(path, rows) == 2
    found = read_rows(path)
    assert found.problems == ()
    assert [row.label for row in found.rows] == [True, False]
    assert found.rows[0].completion == "ear"
    assert [item.name for item in path.parent.iterdir()] == ["rows.jsonl"]


def test_read_member_takes_regular_files_alone(tmp_path: Path) -> None:
    archive = tmp_path / "pkg-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("pkg-1.0/data.xml")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"<a/>"))
        link = tarfile.TarInfo("pkg-1.0/dir")
        link.type = tarfile.DIRTYPE
        tar.addfile(link)
    assert read_member(archive, "data.xml") == b"<a/>"
    for member in ("missing.xml", "dir"):
        with pytest.raises(DatasetError, match=member):
            read_member(archive, member)
    wheel = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("pkg/data.xml", "<a/>")
    assert read_member(wheel, "pkg/data.xml") == b"<a/>"
    with pytest.raises(DatasetError, match=r"missing\.xml"):
        read_member(wheel, "pkg/missing.xml")
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DatasetError, match="run again"):
        read_member(archive, "data.xml")

"""The list of jobs: whole, whatever happens while it is read. What is passed over would be taken for absent, and made again."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobform.backends.otoy.backend import Otoy, OtoyBackend
from jobform.backends.remote import PageExpiredError
from jobform.clients.rest.client import RestError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Found, Place, Unknown
from jobform.testing.marks import make_mark
from tests.backends.otoy.test_wire import JOB

NOW = datetime(2026, 4, 2, 12, tzinfo=UTC)
Pages = Callable[[dict[str, str]], Json]


def job(number: int, **changes: Json) -> dict[str, Json]:
    """A job that is older the greater its number."""
    created = (NOW - timedelta(minutes=number)).isoformat()
    return {**JOB, "uuid": f"job-{number}", "created_at": created, **changes}


class Listing:
    """`Rest`, of which only lists are asked."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self.asked: list[dict[str, str]] = []

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Json:
        assert path == "/v1/jobs"
        self.asked.append(dict(query))
        return self._pages(dict(query))


@pytest.fixture
def listing(service: Otoy) -> Callable[[Pages], Listing]:
    def give(pages: Pages) -> Listing:
        service._rest = Listing(pages)  # type: ignore[assignment]  # what is asked of it, it answers
        return service._rest  # type: ignore[return-value]  # it is one

    return give


def slices(jobs: list[Any], *, limit: int = 50) -> Pages:
    """A list as the service gives it."""
    def page(query: dict[str, str]) -> Json:
        size, number = min(limit, int(query["limit"])), int(query["page"])
        return {"data": jobs[(number - 1) * size : number * size], "page": number, "limit": size, "total": len(jobs)}

    return page


def ids(service: Otoy, since: datetime | None = None) -> list[str]:
    return [seen.id for page in service.pages(since) for seen in page]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 101])
@pytest.mark.parametrize("limit", [20, 50])
def test_every_job_is_listed(service: Otoy, listing: Any, count: int, limit: int) -> None:
    asked = listing(slices([job(n) for n in range(count)], limit=limit)).asked
    assert ids(service) == [f"job-{n}" for n in range(count)]
    assert len(asked) == max(1, -(-count // limit)), "no more calls than pages"
    assert all(query["sort"] == "-created_at" for query in asked)


def test_a_bare_list_is_the_whole(service: Otoy, listing: Any) -> None:
    listing(lambda _query: [job(n) for n in range(70)])
    assert len(ids(service)) == 70


def test_a_bare_list_of_one_full_page_may_go_on(service: Otoy, listing: Any) -> None:
    jobs = [job(n) for n in range(120)]
    listing(lambda query: jobs[(int(query["page"]) - 1) * 50 : int(query["page"]) * 50])
    assert len(ids(service)) == 120


def test_a_bare_list_without_pages_ends(service: Otoy, listing: Any) -> None:
    asked = listing(lambda _query: [job(n) for n in range(50)]).asked
    assert len(ids(service)) == 50
    assert len(asked) == 2


def test_new_jobs_while_it_is_read_push_none_out(service: Otoy, listing: Any) -> None:
    jobs = [job(n) for n in range(100)]

    def pages(query: dict[str, str]) -> Json:
        answer = slices(jobs)(query)
        jobs.insert(0, job(-len(jobs)))
        return answer

    listing(pages)
    assert {f"job-{n}" for n in range(100)} <= set(ids(service))


def test_fewer_jobs_than_before_begin_the_list_again(service: Otoy, listing: Any) -> None:
    jobs = [job(n) for n in range(120)]

    def pages(query: dict[str, str]) -> Json:
        answer = slices(jobs)(query)
        if query["page"] == "1" and len(jobs) == 120:
            del jobs[0]  # the service forgets one: job-50 is on no page now
        return answer

    listing(pages)
    with pytest.raises(PageExpiredError):
        ids(service)
    assert ids(service) == [f"job-{n}" for n in range(1, 120)]


def test_an_early_end_is_no_end(service: Otoy, listing: Any) -> None:
    listing(lambda query: {"data": [job(n) for n in range(50)] if query["page"] == "1" else [], "limit": 50, "total": 120})
    with pytest.raises(BackendError, match="ends early"):
        ids(service)


def test_a_list_without_end_is_left(service: Otoy, listing: Any) -> None:
    listing(lambda query: {"data": [job(int(query["page"]))], "limit": 1, "total": 10**9})  # another one on every page
    with pytest.raises(BackendError, match="no end"):
        ids(service)


@pytest.mark.parametrize("value", [
    None, 5, "x", {}, {"data": {}}, {"data": None}, {"data": []}, {"data": [], "total": "5"}, {"data": [], "total": -1},
    {"data": [], "total": True}, {"data": [5], "total": 1}, {"data": [{}], "total": 1}, [5], [[]], {"data": [None], "total": 1},
])
def test_what_is_no_list_is_no_absence(service: Otoy, listing: Any, value: Json) -> None:
    listing(lambda _query: value)
    with pytest.raises(BackendError):
        ids(service)


@pytest.mark.parametrize("limit", [None, 0, -5, "20", 1000, True])
@pytest.mark.parametrize("size", [20, 50])
def test_an_odd_limit_is_not_believed(service: Otoy, listing: Any, limit: Json, size: int) -> None:
    jobs = [job(n) for n in range(120)]
    listing(lambda query: {**slices(jobs, limit=size)(query), "limit": limit})  # type: ignore[dict-item]  # a page
    assert len(set(ids(service))) == 120


def test_the_same_page_again_is_no_next_page(service: Otoy, listing: Any) -> None:
    listing(lambda _query: {"data": [job(n) for n in range(50)], "limit": 50, "total": 120})
    with pytest.raises(PageExpiredError):
        ids(service)


def test_a_later_page_that_is_refused_begins_the_list_again(service: Otoy, listing: Any) -> None:
    def pages(query: dict[str, str]) -> Json:
        if query["page"] != "1":
            raise RestError("no such page", status=400)
        return slices([job(n) for n in range(60)])(query)

    listing(pages)
    with pytest.raises(PageExpiredError):
        ids(service)


# --- as far back as is asked ------------------------------------------------------------------------------------------


def test_the_list_is_read_as_far_back_as_is_asked(service: Otoy, listing: Any) -> None:
    asked = listing(slices([job(n) for n in range(1000)])).asked
    assert "job-60" in ids(service, NOW - timedelta(minutes=60))
    assert len(asked) == 3, "the third page is the first that is too old as a whole"


@pytest.mark.parametrize("order", ["ascending", "none"])
def test_an_order_that_is_not_obeyed_ends_nothing_early(service: Otoy, listing: Any, order: str) -> None:
    jobs = [job(n) for n in range(300)]
    jobs.reverse()
    if order == "none":
        random.Random(7).shuffle(jobs)
    listing(slices(jobs))
    assert "job-1" in ids(service, NOW - timedelta(minutes=20))


@pytest.mark.parametrize("created", [None, "2026-04-02", ""])
def test_times_that_say_too_little_end_nothing_early(service: Otoy, listing: Any, created: Json) -> None:
    jobs = [job(n, created_at=created) for n in range(300)]
    listing(slices(jobs))
    assert len(ids(service, NOW)) == 300


def test_equal_times_prove_no_order(service: Otoy, listing: Any) -> None:
    jobs = [job(500, uuid=f"old-{n}") for n in range(100)] + [job(1)]
    listing(slices(jobs))
    assert "job-1" in ids(service, NOW - timedelta(minutes=20))


@pytest.mark.parametrize("created", ["2026-04-02", None])
def test_a_run_whose_day_alone_is_told_is_found_by_its_mark(service: Otoy, listing: Any, place: Place, created: Json) -> None:
    mark = make_mark("job")
    listing(slices([*(job(n) for n in range(60)), job(90, description=f"jobform:{mark.text}", created_at=created)]))
    answer = OtoyBackend(service, place).find([mark])[mark]
    assert isinstance(answer, Found), answer


def test_two_runs_of_one_mark_are_for_a_person_to_judge(service: Otoy, listing: Any, place: Place) -> None:
    mark = make_mark("job")
    listing(slices([job(n, description=f"jobform:{mark.text}", created_at=None) for n in range(2)]))
    answer = OtoyBackend(service, place).find([mark])[mark]
    assert isinstance(answer, Unknown)
    assert "job-0, job-1" in answer.reason

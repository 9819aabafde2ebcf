"""Every field of the services' own pages about creating a job is sent by a backend: the lists, and who proves it.

`fields.json` lists, for each service, the fields of its page as paths on the wire: `a.b`, `a[]` for the items of a list, `a{}`
for the values of a map. It is written from the stored pages, `*-create-job.txt`, and from the tables of `NAME.md`, where a page
has lost or never had the names:

    python -m tests.seeds.extract DIRECTORY_OF_PAGES --tables DIRECTORY_OF_TABLES

A service takes part by a module of its name in this folder, with

    TYPE: BackendType                     the type
    SETTINGS: dict                        a backend's block
    SPECS: list[dict]                     valid specs that together use every field
    prepare(project, variables) -> None   optional: what they need, such as files in the project or a bucket
    submission(address, spec, project)    optional: the Submission of a spec, where it is more than the spec
    fields(calls) -> set[str]             optional: the paths in recorded calls; by default those of all JSON bodies
"""

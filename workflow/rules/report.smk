# The page of the finished study; `selfloop report` writes that of an unfinished one.


rule write_report:
    input:
        metrics=paths.METRICS,
        learning_curves=paths.LEARNING_CURVES,
        profile=paths.PROFILE,
        shown=study.shows.files(),
        marks=study.shows.marks,
    output:
        page=report(
            paths.PAGE,
            caption="../../src/selfloop/report/captions/write_report.rst",
            category="The page",
        ),
        summary=paths.SUMMARY,
        mark=study.shows.page_mark,
    log:
        paths.log("write_report"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        study=study.shows.report(),
        looks=looks(),
        code=study.measured_code("write_report"),
    script:
        "../scripts/step.py"

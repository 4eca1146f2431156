# The page that a reader opens. A study that is not finished has one, too: `make report`.


rule write_report:
    input:
        metrics="results/metrics.parquet",
        learning_curves="results/learning_curves.parquet",
        shown=study.report_files(),
    output:
        page=report(
            "results/report/index.html",
            caption="../../src/selfloop/report/captions/write_report.rst",
            category="The page",
        ),
    log:
        "results/logs/write_report.log",
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        study=study.report(),
        looks=study.report_looks(),
        code=study.code("write_report"),
    script:
        "../scripts/step.py"

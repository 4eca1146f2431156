# The page that a reader opens. A study that is not finished has one, too: `make report`.


rule write_report:
    input:
        metrics="results/metrics.parquet",
        learning_curves="results/learning_curves.parquet",
        shown=study.report_files(),
    output:
        page=report("results/report/index.html", caption="../captions/write_report.rst", category="The page"),
    log:
        "results/logs/write_report.log",
    conda:
        "../../envs/base.yaml"
    params:
        study=study.report(),
        looks=study.report_looks(),
        code=study.code("report.write_report"),
    script:
        "../scripts/write_report.py"

# From measurements to tables and figures. Each takes seconds, less than a cluster's queue would: they are local rules.


rule collect_metrics:
    input:
        measurements=study.measurement_files,
        curves=study.curve_files,
        simulations=study.simulation_files,
        profiles=study.profile_files,
    output:
        metrics=paths.METRICS,
        learning_curves=paths.LEARNING_CURVES,
        profile=paths.PROFILE,
        chains=paths.CHAINS,
        mark=study.shows.tables_mark,
    log:
        paths.log("collect_metrics"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        chains=study.rows(),
        simulations=study.simulation_rows(),
        code=study.measured_code("collect_metrics"),
    script:
        "../scripts/step.py"


# The words of all domains are corrected together, so that this table is of the whole study.
rule write_profile:
    input:
        metrics=paths.METRICS,
        profile=paths.PROFILE,
        marks=study.shows.tables_mark,
    output:
        tables=paths.profile_table("csv"),
        pages=paths.profile_table("md"),
        mark=study.shows.profile_mark,
    log:
        paths.log("write_profile"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        study=study.shows.profiled(),
        code=study.measured_code("write_profile"),
    script:
        "../scripts/step.py"


# Everything below draws from the tidy tables or shows artifacts: how a figure looks never retrains a model.


wildcard_constraints:
    domain="|".join(domain.name for domain in study.domains),


for shown in study.shows.rules:

    rule:
        name:
            shown.name
        input:
            **shown.tidy,
            artifacts=shown.artifacts,
        output:
            figures=report(
                shown.files("figures", *study.shows.formats),
                caption=f"../../src/selfloop/report/captions/{shown.first.caption}",
                category=shown.domain,
                subcategory="Figures",
            ),
            tables=report(
                shown.files("tables", "csv"),
                caption=f"../../src/selfloop/report/captions/{shown.first.caption}",
                category=shown.domain,
                subcategory="Tables",
            ),
            pages=shown.files("tables", "md"),
            mark=shown.mark(),
        log:
            shown.log,
        localrule: True
        conda:
            "../../envs/base.yaml"
        params:
            settings=shown.settings,
        script:
            "../scripts/step.py"

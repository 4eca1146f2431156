# From measurements to tables, figures and pages. Each takes seconds, less than a cluster's queue would: they run beside
# Snakemake.


rule collect_metrics:
    input:
        measurements=study.measurement_files,
        curves=study.curve_files,
        simulations=study.simulation_files,
    output:
        metrics=paths.METRICS,
        learning_curves=paths.LEARNING_CURVES,
        chains=paths.CHAINS,
    log:
        paths.log("collect_metrics"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        chains=study.rows(),
        simulations=study.simulation_rows(),
        code=study.code("collect_metrics"),
    script:
        "../scripts/step.py"


# Everything below draws from the tidy tables, or shows artifacts as they are: how a figure looks never retrains a model.


wildcard_constraints:
    domain="[a-z]+",


rule plot_headline:
    input:
        metrics=paths.METRICS,
    output:
        figures=report(
            expand(paths.figure("{{domain}}", "headline", "{format}"), format=study.formats),
            caption="../../src/selfloop/report/captions/plot_headline.rst",
            category="{domain}",
            subcategory="Figures",
        ),
    log:
        paths.log("plot_headline", "{domain}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        domain="{domain}",
        quantity=lambda w: asdict(study.domain(w.domain).headline),
        title=lambda w: study.title(f"{w.domain}-headline"),
        published=lambda w: study.published(study.domain(w.domain)),
        code=study.code("plot_headline"),
    script:
        "../scripts/step.py"


rule plot_learning_curves:
    input:
        learning_curves=paths.LEARNING_CURVES,
    output:
        figures=report(
            expand(
                paths.figure("{{domain}}", "learning-curves-{x}-{scale}", "{format}"),
                x=["epoch", "step"],
                scale=["linear", "log"],
                format=study.formats,
            ),
            caption="../../src/selfloop/report/captions/plot_learning_curves.rst",
            category="{domain}",
            subcategory="Figures",
        ),
    log:
        paths.log("plot_learning_curves", "{domain}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        domain="{domain}",
        quantity=lambda w: asdict(study.domain(w.domain).curve),
        title=lambda w: study.title(f"{w.domain}-learning-curves"),
        code=study.code("plot_learning_curves"),
    script:
        "../scripts/step.py"


rule plot_synthetic:
    input:
        metrics=paths.METRICS,
    output:
        figures=report(
            expand(paths.figure("{{domain}}", "synthetic", "{format}"), format=study.formats),
            caption="../../src/selfloop/report/captions/plot_synthetic.rst",
            category="{domain}",
            subcategory="Figures",
        ),
    log:
        paths.log("plot_synthetic", "{domain}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        domain="{domain}",
        quantities=lambda w: [asdict(quantity) for quantity in study.domain(w.domain).synthetic],
        title=lambda w: study.title(f"{w.domain}-synthetic"),
        code=study.code("plot_synthetic"),
    script:
        "../scripts/step.py"


rule write_tables:
    input:
        metrics=paths.METRICS,
    output:
        headline=report(
            paths.table("{domain}", "headline", "csv"),
            caption="../../src/selfloop/report/captions/write_tables.rst",
            category="{domain}",
            subcategory="Tables",
        ),
        headline_page=paths.table("{domain}", "headline", "md"),
        trend=report(
            paths.table("{domain}", "trend", "csv"),
            caption="../../src/selfloop/report/captions/write_tables.rst",
            category="{domain}",
            subcategory="Tables",
        ),
        trend_page=paths.table("{domain}", "trend", "md"),
    log:
        paths.log("write_tables", "{domain}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        domain="{domain}",
        quantity=lambda w: asdict(study.domain(w.domain).headline),
        code=study.code("write_tables"),
    script:
        "../scripts/step.py"


rule write_samples:
    input:
        parts=lambda w: [part["folder"] for part in study.samples(w.domain)],
    output:
        samples=report(
            paths.table("{domain}", "samples", "csv"),
            caption="../../src/selfloop/report/captions/write_samples.rst",
            category="{domain}",
            subcategory="Tables",
        ),
        samples_page=paths.table("{domain}", "samples", "md"),
    log:
        paths.log("write_samples", "{domain}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        domain="{domain}",
        parts=lambda w: study.samples(w.domain),
        per_model=study.checked["tables"]["samples_per_model"],
        characters=study.checked["tables"]["sample_characters"],
        code=lambda w: study.code("write_samples", study.domain(w.domain)),
    script:
        "../scripts/step.py"


# What only one domain shows: a rule for each of its own analyses.
for domain in study.domains:
    for analysis in study.analyses(domain):

        rule:
            name:
                f"{domain.name}_{analysis.step}"
            input:
                metrics=paths.METRICS if "metrics" in analysis.reads else [],
                artifacts=study.files_read_by(domain, analysis),
            output:
                figures=report(
                    expand(
                        paths.figure(domain.name, "{name}", "{format}"),
                        name=analysis.figures,
                        format=study.formats,
                    ),
                    caption=f"../../src/selfloop/report/captions/{study.caption(domain, analysis)}",
                    category=domain.name,
                    subcategory="Figures",
                ),
                tables=expand(
                    paths.table(domain.name, "{name}", "{format}"),
                    name=analysis.tables,
                    format=["csv", "md"],
                ),
            log:
                paths.log(analysis.step, domain.name),
            localrule: True
            conda:
                "../../envs/base.yaml"
            params:
                domain=domain.name,
                asked=analysis.asked,
                artifacts=study.read_by(domain, analysis),
                titles={name: study.title(f"{domain.name}-{name}") for name in analysis.figures},
                code=study.code(f"{domain.name}_{analysis.step}", domain),
            script:
                "../scripts/step.py"

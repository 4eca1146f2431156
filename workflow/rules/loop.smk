# The loop: a training set, a model, data sets sampled from it, and measurements of both.


wildcard_constraints:
    model=r"[^/]+/seed\d+/iteration\d+-[0-9a-f]{16}",
    part="[^/]+-[0-9a-f]{16}",
    score="[0-9a-f]{16}",
    profile=r"[^/]+/seed\d+-[0-9a-f]{16}",


# It only links files, and every model waits for it: it is a local rule, not queued on a cluster.
rule concatenate:
    input:
        unpack(study.concatenate_input),
    output:
        training_set=directory(paths.training_set("{model}")),
    log:
        paths.log("concatenate", "{model}"),
    localrule: True
    conda:
        "../../envs/base.yaml"
    params:
        settings=study.concatenate_settings,
        sources=study.concatenate_sources,
        takes=study.concatenate_takes,
    script:
        "../scripts/step.py"


rule train:
    input:
        unpack(study.train_input),
        training_set=paths.training_set("{model}"),
    output:
        checkpoint=directory(paths.checkpoint("{model}")),
        learning_curve=paths.learning_curve("{model}"),
    log:
        paths.log("train", "{model}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("train")
    resources:
        **study.requests("train"),
    params:
        settings=study.train_settings,
    script:
        "../scripts/step.py"


rule generate:
    input:
        checkpoint=paths.checkpoint("{model}"),
        real=study.real_train,
    output:
        part=directory(paths.part("{model}", "{part}")),
    log:
        paths.log("generate", "{model}", "{part}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("generate")
    resources:
        **study.requests("generate"),
    params:
        settings=study.generate_settings,
    script:
        "../scripts/step.py"


# The scores by which filters choose rows; each once for all regimes that choose by them.
rule score:
    input:
        unpack(study.score_input),
    output:
        scores=paths.scores("{model}", "{part}", "{score}"),
    log:
        paths.log("score", "{model}", "{part}-{score}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("score")
    resources:
        **study.requests("score"),
    params:
        settings=study.score_settings,
    script:
        "../scripts/step.py"


rule evaluate_model:
    input:
        checkpoint=paths.checkpoint("{model}"),
        test=study.real_test,
    output:
        measurements=paths.model_measurements("{model}"),
    log:
        paths.log("evaluate_model", "{model}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("evaluate_model")
    resources:
        **study.requests("evaluate_model"),
    params:
        settings=study.evaluate_model_settings,
        state=paths.state("{model}"),  # the training's saved one, which is deleted at the end
    script:
        "../scripts/step.py"


rule evaluate_part:
    input:
        unpack(study.evaluate_part_input),
        part=paths.part("{model}", "{part}"),
        checkpoint=paths.checkpoint("{model}"),
    output:
        measurements=paths.part_measurements("{model}", "{part}"),
    log:
        paths.log("evaluate_part", "{model}", "{part}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("evaluate_part")
    resources:
        **study.requests("evaluate_part"),
    params:
        settings=study.evaluate_part_settings,
        state=paths.part_state("{model}", "{part}"),  # what its sampling has kept, which is deleted at the end
    script:
        "../scripts/step.py"


# Beside evaluate_part, which needs every checkpoint: measurements can be added to a finished study without a training.
rule measure_profile:
    input:
        unpack(study.measure_profile_input),
    output:
        profile=paths.profile("{profile}"),
    log:
        paths.log("measure_profile", "{profile}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("measure_profile")
    resources:
        **study.requests("measure_profile"),
    params:
        settings=study.measure_profile_settings,
    script:
        "../scripts/step.py"


# For domains that can simulate whole chains in one job.
rule simulate_chains:
    output:
        measurements=paths.simulation("{simulation}"),
    log:
        paths.log("simulate_chains", "{simulation}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("simulate_chains")
    resources:
        **study.requests("simulate_chains"),
    params:
        settings=study.simulate_chains_settings,
    script:
        "../scripts/step.py"

# The loop: a training set, a model, data sets sampled from it, and measurements of both.


wildcard_constraints:
    model=r"[^/]+/seed\d+/iteration\d+-[0-9a-f]{16}",
    part="[^/]+-[0-9a-f]{16}",


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
        gpu=study.asks("train", "gpu"),
        mem_mb=study.asks("train", "mem_mb"),
        runtime=study.asks("train", "runtime"),
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
        gpu=study.asks("generate", "gpu"),
        mem_mb=study.asks("generate", "mem_mb"),
        runtime=study.asks("generate", "runtime"),
    params:
        settings=study.generate_settings,
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
        gpu=study.asks("evaluate_model", "gpu"),
        mem_mb=study.asks("evaluate_model", "mem_mb"),
        runtime=study.asks("evaluate_model", "runtime"),
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
        gpu=study.asks("evaluate_part", "gpu"),
        mem_mb=study.asks("evaluate_part", "mem_mb"),
        runtime=study.asks("evaluate_part", "runtime"),
    params:
        settings=study.evaluate_part_settings,
        state=paths.part_state("{model}", "{part}"),  # what its sampling has kept, which is deleted at the end
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
        gpu=study.asks("simulate_chains", "gpu"),
        mem_mb=study.asks("simulate_chains", "mem_mb"),
        runtime=study.asks("simulate_chains", "runtime"),
    params:
        settings=study.simulate_chains_settings,
    script:
        "../scripts/step.py"

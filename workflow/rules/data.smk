# The real data, as models read them.


wildcard_constraints:
    data="[^/]+",
    tokenizer="[0-9a-f]{16}",


# The user's files are no inputs: what they hold is in the name of the data and in the params, and no date counts.
rule prepare_data:
    output:
        train=directory(paths.real(paths.documents("{data}"), "train")),
        test=directory(paths.real(paths.documents("{data}"), "test")),
        validation=directory(paths.real(paths.documents("{data}"), "validation")),
    log:
        paths.log("prepare_data", "{data}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("prepare_data")
    resources:
        **study.requests("prepare_data"),
    params:
        settings=study.prepare_data_settings,
    script:
        "../scripts/step.py"


if study.reserved:

    use rule prepare_data as prepare_data_with_reserve with:
        output:
            train=directory(paths.real(paths.documents("{data}"), "train")),
            test=directory(paths.real(paths.documents("{data}"), "test")),
            validation=directory(paths.real(paths.documents("{data}"), "validation")),
            reserve=directory(paths.real(paths.documents("{data}"), "reserve")),
        wildcard_constraints:
            data=study.reserved,

    ruleorder: prepare_data_with_reserve > prepare_data


rule train_tokenizer:
    input:
        unpack(study.train_tokenizer_input),
    output:
        tokenizer=paths.tokenizer("{data}", "{tokenizer}"),
    log:
        paths.log("train_tokenizer", "{data}-{tokenizer}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("train_tokenizer")
    resources:
        **study.requests("train_tokenizer"),
    params:
        settings=study.train_tokenizer_settings,
    script:
        "../scripts/step.py"


rule tokenize:
    input:
        train=paths.real(paths.documents("{data}"), "train"),
        test=paths.real(paths.documents("{data}"), "test"),
        tokenizer=paths.tokenizer("{data}", "{tokenizer}"),
    output:
        train=directory(paths.real(paths.tokenized("{data}", "{tokenizer}"), "train")),
        test=directory(paths.real(paths.tokenized("{data}", "{tokenizer}"), "test")),
    log:
        paths.log("tokenize", "{data}-{tokenizer}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("tokenize")
    resources:
        **study.requests("tokenize"),
    params:
        settings=study.tokenize_settings,
    script:
        "../scripts/step.py"


if study.reserved:

    use rule tokenize as tokenize_with_reserve with:
        input:
            train=paths.real(paths.documents("{data}"), "train"),
            test=paths.real(paths.documents("{data}"), "test"),
            reserve=paths.real(paths.documents("{data}"), "reserve"),
            tokenizer=paths.tokenizer("{data}", "{tokenizer}"),
        output:
            train=directory(paths.real(paths.tokenized("{data}", "{tokenizer}"), "train")),
            test=directory(paths.real(paths.tokenized("{data}", "{tokenizer}"), "test")),
            reserve=directory(paths.real(paths.tokenized("{data}", "{tokenizer}"), "reserve")),
        wildcard_constraints:
            data=study.reserved,

    ruleorder: tokenize_with_reserve > tokenize


rule measure_baseline:
    input:
        train=paths.real("{real}", "train"),
        test=paths.real("{real}", "test"),
    output:
        measurements=paths.baseline("{real}", "{baseline}"),
    log:
        paths.log("measure_baseline", "{real}-{baseline}"),
    conda:
        "../../envs/base.yaml"
    threads: study.threads("measure_baseline")
    resources:
        **study.requests("measure_baseline"),
    params:
        settings=study.measure_baseline_settings,
    script:
        "../scripts/step.py"

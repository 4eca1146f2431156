# selfloop: train a generative model, sample a data set from it, decide what the next model learns from, repeat.
#
#   snakemake --cores all                                   the study of config/config.yaml
#   snakemake --cores all --configfile config/mine.yaml     another one

import atexit
import gc
import os
import sys

from snakemake.utils import min_version

min_version("9.27")

# Planning allocates millions of small objects that stay alive, so garbage collection only costs time. It is enabled again
# when jobs run.
gc.disable()
atexit.register(gc.freeze)

# Snakemake and `python -m` put these folders there. They may be the study's, whose modules must not stand in for others.
here = str(workflow.current_basedir.get_path_or_uri(secret_free=True))  # also as a module of another workflow
users = {os.path.abspath(workflow.basedir), here, os.getcwd()}
sys.path[:] = [path for path in sys.path if os.path.abspath(path) not in users]
library = os.path.join(here, "src")
sys.path.insert(0, library)
# The profile and the logger, which are read before, have imported what is installed: perhaps that of another clone.
loaded = sys.modules.get("selfloop")
if loaded is not None and not os.path.samefile(os.path.dirname(loaded.__file__), os.path.join(library, "selfloop")):
    for name in [name for name in sys.modules if name.split(".")[0] == "selfloop"]:
        del sys.modules[name]

from selfloop.planning import paths
from selfloop.planning.requests import Request
from selfloop.planning.rules import Plan, expose_library, plan_study
from selfloop.planning.shown import looks
from selfloop.session.compat import ignore_dates, plan_faster, quote_python, record_without_deleted, schedule_once
from selfloop.session.session import Session

expose_library(here)
plan_faster(Plan, Request)
ignore_dates()
record_without_deleted()
schedule_once()
quote_python()

# A config given on the command line replaces the default study; they are not merged.
if not workflow.overwrite_configfiles:

    configfile: f"{here}/config/config.yaml"


study = plan_study(
    config,
    files=workflow.configfiles,
    given=workflow.config_settings.config,
    in_job=not workflow.is_main_process,
    set_resources=workflow.resource_settings.overwrite_resources,
)
session = Session(workflow, study)


include: "workflow/rules/data.smk"
include: "workflow/rules/loop.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.write_report.output,
        rules.collect_metrics.output,
        rules.write_profile.output,
        study.shows.files(),
        # Each on its own: what is shown is looked for in what has been measured, with or without records of it.
        study.measurement_files,
        study.curve_files,
        study.simulation_files,
        study.profile_files,


# Around the jobs: one Snakemake per folder, this machine's GPUs, the forkserver; see selfloop.session.session.
onstart:
    session.begin()


onsuccess:
    session.end(success=True)


onerror:
    session.end(success=False)

"""The table of contents: what can be built, in build order. `./doit list` prints it, README.md says how.

sources -> buildroot -> package:* -> rootfs -> host -> prove
                   \\-> kernel-config -> kernel -^       ^
                    \\-> ovmf ---------------------------/
                           \\-> guest  <- medium

Each task is described by the function that makes it.
"""

from hostwright.tasks import checks, devices, guests, host, recipes, updates
from hostwright.tasks.define import listed

DOIT_CONFIG = host.CONFIG

task_sources = listed(lambda: recipes.sources)
task_passthrough = listed(lambda: host.passthrough)
task_buildroot = listed(lambda: host.buildroot)
task_package = listed(lambda: host.package_)
task_kernel_config = listed(lambda: host.kernel_config)
task_kernel = listed(lambda: host.kernel)
task_ovmf = listed(lambda: host.ovmf)
task_rootfs = listed(lambda: host.rootfs)
task_host = listed(lambda: host.host)
task_prove = listed(lambda: host.prove)
task_machines = listed(lambda: host.machines)
task_update_file = listed(lambda: updates.update_file)
task_prove_update = listed(lambda: updates.prove_update)
task_sign = listed(lambda: updates.sign)
task_update = listed(lambda: updates.update)
task_medium = listed(lambda: guests.medium)
task_guest = listed(lambda: guests.guest)
task_guest_fast = listed(lambda: guests.guest_fast)
task_prove_guest = listed(lambda: guests.prove_guest)
task_groups = listed(lambda: devices.groups)
task_doctor = listed(lambda: devices.doctor)
task_prove_groups = listed(lambda: devices.prove_groups)
task_accept_config = listed(lambda: host.accept_config)
task_verify = listed(lambda: host.verify)
task_reproduce = listed(lambda: host.reproduce)
task_lock = listed(lambda: host.lock)
task_add = listed(lambda: recipes.add)
task_outdated = listed(lambda: recipes.outdated)
task_shell = listed(lambda: recipes.shell)
task_audit = listed(lambda: checks.audit)
task_torture = listed(lambda: checks.torture)
task_lint = listed(lambda: checks.lint)
task_test_fast = listed(lambda: checks.test_fast)
task_test_built = listed(lambda: checks.test_built)
task_test_long = listed(lambda: checks.test_long)
task_test_installs = listed(lambda: checks.test_installs)
task_test = listed(lambda: checks.test)

import pytest

from mmdet_diffmap.cli.distributed import LAUNCHERS, distributed


@pytest.mark.parametrize('launcher', LAUNCHERS[1:])
def test_a_process_that_the_launcher_has_not_started(launcher, monkeypatch):
    for name in 'RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_LOCAL_RANK':
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f'{launcher} has not started this'), \
            distributed(launcher):
        pass

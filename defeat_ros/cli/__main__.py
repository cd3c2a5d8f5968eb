"""`python -m defeat_ros.cli`."""

import sys

from defeat_ros.cli.main import main

sys.exit(main())

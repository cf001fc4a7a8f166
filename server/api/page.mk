# SPDX-License-Identifier: Apache-2.0
# The compiler does not see what .incbin takes in.
$(BUILD)/obj/server/api/page.o: server/api/status.html

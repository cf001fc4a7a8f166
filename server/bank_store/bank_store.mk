# SPDX-License-Identifier: Apache-2.0
# Banks in a store. The client library of Redis is optional; without it --bank-store is refused with
# that reason.
$(BUILD)/obj/server/bank_store/scripts.o: $(wildcard server/bank_store/lua/*.lua)
ifneq ($(WITHOUT_HIREDIS),1)
ifeq ($(shell pkg-config --exists hiredis && echo yes),yes)
$(BUILD)/obj/server/bank_store/%.o: language += -DRK_HIREDIS
server_libs += -lhiredis
endif
endif

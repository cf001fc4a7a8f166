# The compiler does not see what .incbin takes in.
$(BUILD)/obj/server/api/page.o: server/api/status.html

# The compiler does not see what .incbin takes in.
$(BUILD)/obj/server/page/page.o: server/page/status.html

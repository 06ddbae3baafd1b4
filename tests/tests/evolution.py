"""Evolution's data server with one calendar of a CalDAV server: does what it is told, a JSON array on each line."""

import json
import sys
import threading

import gi

gi.require_version("ECal", "2.0")
gi.require_version("EDataServer", "1.2")
gi.require_version("ICalGLib", "3.0")
from gi.repository import ECal, EDataServer, GLib, ICalGLib

user, password = sys.argv[1:]


def log_in(source, *_):
    credentials = EDataServer.NamedParameters()
    credentials.set("username", user)
    credentials.set("password", password)
    source.invoke_authenticate(credentials, None, lambda *_: None)


# Whoever asks for the password is answered in the loop of this thread.
threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
# Its sources say nothing once it is gone.
registry = EDataServer.SourceRegistry.new_sync(None)
source = registry.ref_source("office")
source.connect("credentials-required", log_in)
client = ECal.Client.connect_sync(source, ECal.ClientSourceType.EVENTS, 30, None)
whole, flags = ECal.ObjModType.ALL, ECal.OperationFlags.NONE


def read(uid):
    return client.get_object_sync(uid, None, None)[1].as_ical_string()


def obey(what, *words):
    if what == "add":
        event = ICalGLib.Component.new_from_string(words[0])
        return client.create_object_sync(event, flags, None)[1]
    if what == "read":
        # It looks at the server now and then; here it is to look at once.
        client.refresh_sync(None)
        return read(words[0])
    if what == "edit":
        uid, old, new = words
        text = read(uid)
        if old not in text:
            raise ValueError(text)
        event = ICalGLib.Component.new_from_string(text.replace(old, new))
        return client.modify_object_sync(event, whole, flags, None)
    if what == "delete":
        return client.remove_object_sync(words[0], None, whole, flags, None)
    raise ValueError(what)


for line in sys.stdin:
    try:
        print(json.dumps({"done": obey(*json.loads(line))}), flush=True)
    except Exception as error:
        print(json.dumps({"failed": str(error)}), flush=True)

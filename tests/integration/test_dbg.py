from conftest import *
from tests.support.http import exchange, Client
import time, os, subprocess, signal, tempfile
def test_x(world):
    host = world.daemon.url[7:]
    raw=exchange(world.daemon.url, f"GET /-/healthz HTTP/1.1\r\nHost: {host}\r\n: x\r\nConnection: close\r\n\r\n".encode())
    print(raw)
    query = "&".join(f"p{n}={n}" for n in range(700))
    t=time.time(); print(Client(world.hub.url).get(f"/api/models/acme/tiny?{query}").status, time.time()-t)
    n=len(world.hub.log())
    for k in (10,90,110,300,600,700):
        query = "&".join(f"p{n}={n}" for n in range(k))
        t=time.time(); 
        try: print(k, world.proxied.get(f"/api/models/acme/tiny?{query}").status, time.time()-t)
        except Exception as e: print(k, e, time.time()-t)
    print(len(world.hub.log())-n)
    print(world.daemon.log_text()[-600:])
def test_y(tmp_path):
    p=subprocess.run(["timeout","-s","TERM","2",os.environ["HUBCACHED"],"serve"],env={"HOME":str(tmp_path),"PATH":os.environ["PATH"]},capture_output=True,text=True)
    print(p)
    from test_operation import BAD_CONFIG, command
    f=tmp_path/"bad.yaml"; f.write_text(BAD_CONFIG); print(command("check-config",f).stderr)
def test_z(hub, daemon):
    daemon.write_config({"threads":"3","cache":{"ref_ttl":"0s"}})
    daemon.signal(signal.SIGHUP); daemon.wait_metric("reloads_total",1); time.sleep(.5); print(daemon.log_text())

// The server of stopped.rs on Go's net/http.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var begun int32
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			if atomic.AddInt32(&begun, 1) == 100 {
				fmt.Println("begun")
			}
			time.Sleep(200 * time.Millisecond)
		}
		io.WriteString(w, "Welcome HTTP Server\n")
	})}
	fmt.Println(listener.Addr())
	go server.Serve(listener)
	<-terminate
	if err := server.Shutdown(context.Background()); err != nil {
		panic(err)
	}
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(strings.Fields(after)[0])
}

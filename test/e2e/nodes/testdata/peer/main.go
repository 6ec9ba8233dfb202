// Command peer is what the tests run in pods: a web server that tells its name,
// and a client.
//
//	peer serve :PORT
//	peer get URL
//	peer lookup NAME
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb, argument string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	switch verb {
	case "serve":
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		return http.ListenAndServe(argument, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	case "get":
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, argument, http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(os.Stdout, response.Body)
		return err
	case "lookup":
		addresses, err := net.DefaultResolver.LookupHost(ctx, argument)
		fmt.Println(addresses)
		return err
	}
	return fmt.Errorf("unknown verb %q", verb)
}

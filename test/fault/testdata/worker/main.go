// Command worker is what the containers of the tests run.
//
//	write TOKEN   writes numbered lines, 1 MB a second, and how long a write took
//	tick TOKEN    the same with short lines, a hundred a second
//	exit N TOKEN  waits for SIGUSR1 and exits with status N
//	echo TOKEN    gives back each line of its standard input
//	flood TOKEN   writes as much as is taken
//	forks TOKEN   starts processes without end
//	files TOKEN   opens files without end
//	sleep TOKEN   does nothing
//	serve TOKEN   answers HTTP on port 8080
//	probe URL     asks every 50 ms on a new connection, tells each failure
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch os.Args[1] {
	case "write":
		write(10, 970)
	case "tick":
		write(1, 10)
	case "exit":
		code, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGUSR1)
		<-told
		fmt.Println("told to go")
		os.Exit(code)
	case "echo":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(lines.Text())
		}
	case "flood":
		flood()
	case "forks":
		forks()
	case "files":
		files()
	case "sleep":
		time.Sleep(time.Hour)
	case "serve":
		err := http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "here") }))
		panic(err)
	case "probe":
		probe(os.Args[2])
	}
}

// write writes lines, some every 10 ms.
func write(some, length int) {
	filling := strings.Repeat("x", length)
	var longest time.Duration
	n := 0
	for range time.Tick(10 * time.Millisecond) {
		for range some {
			before := time.Now()
			fmt.Printf("%09d %d %s\n", n, longest.Milliseconds(), filling)
			longest = max(longest, time.Since(before))
			n++
		}
	}
}

func flood() {
	block := []byte(strings.Repeat(strings.Repeat("x", 127)+"\n", 512))
	for {
		_, _ = os.Stdout.Write(block) // the next is as good
	}
}

func forks() {
	for n := 0; ; n++ {
		if err := exec.Command("/worker", "sleep", os.Args[2]).Start(); err != nil {
			fmt.Println("stopped at", n, err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func files() {
	var all []*os.File
	for {
		file, err := os.Open("/worker")
		if err != nil {
			fmt.Println("stopped at", len(all), err)
			time.Sleep(time.Second)
			continue
		}
		all = append(all, file)
	}
}

func probe(url string) {
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGTERM)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	n := 0
	for {
		select {
		case <-done:
			fmt.Println("asked", n)
			return
		case <-time.After(50 * time.Millisecond):
		}
		n++
		answer, err := client.Get(url)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		if err != nil {
			fmt.Println("failed", time.Now().Format(time.StampMilli), err)
		}
	}
}

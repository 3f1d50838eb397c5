package ortshard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheProgramsOfTheReadme runs them in modules of their own, which have nothing but this package.
func TestTheProgramsOfTheReadme(t *testing.T) {
	own, err := filepath.Abs(".")
	ok(t, err)
	readme, err := os.ReadFile("README.md")
	ok(t, err)
	said := []*regexp.Regexp{
		regexp.MustCompile(`(?s)^.{100,}$`),
		regexp.MustCompile(`^\[1 1 192\] \d+ <nil>\nORTSHARD_ERROR_INVALID_ARGUMENT <nil>\n$`),
	}
	programs := strings.Split(string(readme), "```go\n")[1:]
	if len(programs) != len(said) {
		t.Fatal(len(programs))
	}
	library, err := filepath.Abs(os.Getenv("ORTSHARD_LIBRARY"))
	ok(t, err)
	model, err := filepath.Abs(stories)
	ok(t, err)
	for at, program := range programs {
		folder := t.TempDir()
		const path = "github.com/ortshard/ortshard/bindings/go"
		module := fmt.Sprintf("module program\n\ngo 1.23\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", path, path, own)
		ok(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte(module), 0o644))
		ok(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(strings.Split(program, "```")[0]), 0o644))
		run := exec.Command("go", "run", ".", model)
		run.Dir = folder
		run.Env = append(os.Environ(), "ORTSHARD_LIBRARY="+library, "GOFLAGS=-mod=mod")
		output, err := run.Output()
		if err != nil || !said[at].Match(output) {
			failed, _ := err.(*exec.ExitError)
			t.Fatalf("program %d: %v: %s %+v", at, err, output, failed)
		}
	}
}

# What decant build does, as a Dockerfile.

# why RUN evil
# A Dockerfile cannot write "a\nb", the next line comes near it.
# A Dockerfile cannot write "two words", the next line comes near it.
FROM --platform=linux/arm64 two_words AS a_b
# A Dockerfile cannot write "line\nbreak", the next line comes near it.
# A Dockerfile cannot write "a\nRUN evil", the next line comes near it.
LABEL "line break"="a RUN evil"
# A Dockerfile cannot write "\xff", the next line comes near it.
ENV PATH="�"
WORKDIR " /a 'b'\$c "
COPY \$a q\"\' é /x/
COPY ["[<]<EOF", "/x/"]
COPY ["-x", "/a b/"]
# A Dockerfile cannot write "x y\n", the next line comes near it.
COPY --from=x\ y\  ["a\nb", "/x"]
RUN ["/bin/sh", "-c", "cat <<EOF"]
RUN ["/bin/sh", "-c", "ends in \\"]
RUN ["/bin/sh", "-c", "[ -f x ]"]
RUN ["/bin/sh", "-c", "--mount=type=cache x"]
RUN ["/bin/sh", "-c", "two\nlines"]
RUN ["/bin/sh", "-c", ""]
RUN --mount=type=cache,\"id=a,\\\"\"b\",target=/c\ \\$d ["node", "-e", "\"<&>\""]
CMD []
CMD ["nginx", "-g", "daemon off;"]
ENTRYPOINT ["/docker-entrypoint.sh", "a\",\"b"]
# A Dockerfile cannot write "", the next line comes near it.
EXPOSE _
USER "a b"
